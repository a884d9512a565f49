"""Sign-ins into the trail."""

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.dispatch import receiver
from django.http import HttpRequest

from audit import acts
from audit.acts import Act, Target
from people import throttle


@receiver(user_logged_in)
def record_sign_in(sender: Any, request: HttpRequest, user: Any, **kwargs: Any) -> None:
    device = getattr(user, "otp_device", None)
    acts.record(request, Act.SIGNED_IN, user, actor=user, two_factor=type(device).__name__ if device else "none")


@receiver(user_logged_out)
def record_sign_out(sender: Any, request: HttpRequest, user: Any, **kwargs: Any) -> None:
    if user is not None:
        acts.record(request, Act.SIGNED_OUT, user, actor=user)


@receiver(user_login_failed)
def record_failure(sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any) -> None:
    """Of whoever is locked out no more: nobody fills the trail by guessing."""
    name = str(credentials.get("username", ""))
    address = acts.address_of(request) if request is not None else ""
    if not throttle.locked_until(throttle.counters(name, address)):
        acts.record(request, Act.SIGN_IN_FAILED, Target("User", "", name[:150]))
