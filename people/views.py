"""What people do about their own account: two-factor, and signing out everywhere."""

from typing import Any

import segno
from django.conf import settings
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.auth import logout
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST
from django_otp import login as remember_device

from audit import acts
from audit.acts import Act
from people import throttle, two_factor
from people.forms import CodeForm


@never_cache
@sensitive_post_parameters("code")
def two_factor_view(request: HttpRequest, site: AdminSite) -> HttpResponse:
    """Turn it on or off, and make new recovery codes, which are shown once."""
    user, codes, form = request.user, None, CodeForm()
    if request.method == "POST":
        act, form = request.POST.get("act", ""), CodeForm(request.POST)
        counted = throttle.counters(user.get_username(), acts.address_of(request))
        if form.is_valid():
            if throttle.locked_until(counted):
                form.add_error("code", "Too many attempts. Try again later.")
            elif (codes := _do(request, act, form.cleaned_data["code"])) is None:
                throttle.failed(counted)
                form.add_error("code", "This code does not fit. Is the clock of your phone right?")
            elif not codes:
                return HttpResponseRedirect(reverse("admin:two_factor"))
    is_on = two_factor.has_one(user)
    device = None if is_on else two_factor.pending(user)
    context: dict[str, Any] = {
        **site.each_context(request),
        "title": "Two-factor authentication",
        "form": form,
        "codes": codes,
        "is_on": is_on,
        "is_wanting": settings.CAS_REQUIRE_TWO_FACTOR and not is_on,
        "left": two_factor.recovery_codes_left(user),
        "picture": _picture(device.config_url) if device else "",
        "secret": _in_groups(device) if device else "",
    }
    return TemplateResponse(request, "people/two_factor.html", context)


def _do(request: HttpRequest, act: str, code: str) -> list[str] | None:
    """Recovery codes to be shown, none of them when there are none to show; None when the code does not fit."""
    user: Any = request.user
    if act == "on" and not two_factor.has_one(user):
        codes = two_factor.turn_on(user, "".join(code.split()))
        if codes is not None:
            remember_device(request, two_factor.device_of(user))
            acts.record(request, Act.TWO_FACTOR_ENABLED, user)
        return codes
    if two_factor.verify(user, code) is None:
        return None
    if act == "codes":
        acts.record(request, Act.RECOVERY_CODES_MADE, user)
        return two_factor.make_recovery_codes(user)
    if act == "off":
        two_factor.turn_off(user)
        acts.record(request, Act.TWO_FACTOR_DISABLED, user)
        messages.success(request, "Two-factor authentication is off.")
    return []


def _picture(address: str) -> SafeString:
    """A QR code as SVG; it has no style and no script."""
    svg = segno.make(address, error="m").svg_inline(
        border=4, omitsize=True, dark="#000", light="#fff", svgclass="cas-qr"
    )
    return mark_safe(svg)  # noqa: S308  (made by us, of a picture's squares)


def _in_groups(device: Any) -> str:
    secret = device.config_url.split("secret=")[1].split("&")[0]
    return " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))


@require_POST
def sign_out_everywhere(request: HttpRequest) -> HttpResponse:
    """End all sessions of the user, this one too."""
    user: Any = request.user
    acts.record(request, Act.SIGNED_OUT_EVERYWHERE, user)
    end_sessions(user)
    logout(request)
    return HttpResponseRedirect(reverse("admin:login"))


def end_sessions(user: User) -> int:
    """End all sessions of a user; return how many there were. Reads them all: the admin has few."""
    mine = [
        session.pk
        for session in Session.objects.filter(expire_date__gte=timezone.now()).iterator()
        if session.get_decoded().get("_auth_user_id") == str(user.pk)
    ]
    return Session.objects.filter(pk__in=mine).delete()[0]
