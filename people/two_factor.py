"""One-time passwords (TOTP, RFC 6238) as a second factor, kept by django-otp; recovery codes for a lost phone."""

import secrets
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django_otp import devices_for_user
from django_otp.models import Device
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

RECOVERY_CODES = 10
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that is read as something else
_LENGTH = 12  # of 31 letters: 59 bits


def has_one(user: Any) -> bool:
    """Whether the user's password alone does not let anybody in."""
    return bool(TOTPDevice.objects.filter(user_id=user.pk, confirmed=True).exists())


def device_of(user: Any) -> TOTPDevice:
    """Of a user who has one."""
    return TOTPDevice.objects.get(user_id=user.pk, confirmed=True)


def verify(user: Any, code: str) -> Device | None:
    """The device that takes this code, which is then used up; None: none does."""
    code = "".join(code.split()).replace("-", "").lower()
    if not code:
        return None
    with transaction.atomic():
        for device in devices_for_user(user, for_verify=True):
            is_allowed, _ = device.verify_is_allowed()
            is_recovery = isinstance(device, StaticDevice)  # what has another form is no failure of it
            if is_allowed and is_recovery is not code.isdigit() and device.verify_token(code):
                return device
    return None


@transaction.atomic
def pending(user: Any) -> TOTPDevice:
    """The device that the user is about to add; the same until it is confirmed."""
    _lock(user)
    first = TOTPDevice.objects.filter(user_id=user.pk, confirmed=False).order_by("pk").first()
    return first or TOTPDevice.objects.create(user=user, confirmed=False, name="authenticator")


@transaction.atomic
def turn_on(user: Any, code: str) -> list[str] | None:
    """Confirm the device that is about to be added; return new recovery codes, None when the code does not fit."""
    device = pending(user)
    if not code.isdigit() or not device.verify_token(code):
        return None
    device.confirmed = True
    device.save()
    TOTPDevice.objects.filter(user_id=user.pk, confirmed=False).delete()
    return make_recovery_codes(user)


@transaction.atomic
def make_recovery_codes(user: Any) -> list[str]:
    """New ones in place of all that there were. Each can be used once."""
    _lock(user)
    # The device stays: a session that one of its codes has verified is verified by it.
    device = StaticDevice.objects.filter(user_id=user.pk).order_by("pk").first()
    device = device or StaticDevice.objects.create(user=user, name="recovery codes")
    StaticToken.objects.filter(device__user_id=user.pk).delete()
    codes = ["".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH)) for _ in range(RECOVERY_CODES)]
    StaticToken.objects.bulk_create(StaticToken(device=device, token=code) for code in codes)
    return codes


def recovery_codes_left(user: Any) -> int:
    return int(StaticToken.objects.filter(device__user=user).count())


@transaction.atomic
def turn_off(user: Any) -> bool:
    """Remove all of it; return whether there was anything."""
    was_on = has_one(user)
    TOTPDevice.objects.filter(user=user).delete()
    StaticDevice.objects.filter(user=user).delete()
    return was_on


def _lock(user: Any) -> None:
    """Until the transaction ends: no constraint keeps two requests from making a device each."""
    User.objects.select_for_update().get(pk=user.pk)
