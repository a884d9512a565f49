"""Who may sign in: Django's users, not too many tries at a time, and with a second factor where there is one."""

from typing import Any

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from audit import acts
from audit.acts import Act, Target
from people import roles, throttle, two_factor


class Backend(ModelBackend):
    """Of `/api/` and of the sign-in form alike. Only the form has a code: without one a second factor is not met."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        code: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        """The user; None, or PermissionDenied, which stops here: no."""
        name = username if username is not None else kwargs.get(User.USERNAME_FIELD, "")
        address = acts.address_of(request) if request is not None else ""
        counted = throttle.counters(name, address)
        if throttle.locked_until(counted):
            raise PermissionDenied
        user = super().authenticate(request, username, password, **kwargs)
        # A guess that was under way when the lock came is none.
        if user is not None and self._is_second_factor_met(user, code) and not throttle.locked_until(counted):
            throttle.succeeded(counted)
            return user
        if throttle.failed(counted):
            acts.record(request, Act.LOCKED_OUT, Target("User", "", name))
        return None

    def get_user(self, user_id: int) -> User | None:
        """Whose session it is; one from before the account was a script's is nobody's."""
        user = super().get_user(user_id)
        return None if user is None or roles.is_script(user) else user

    def _is_second_factor_met(self, user: Any, code: str | None) -> bool:
        if roles.is_script(user):
            return code is None
        if not two_factor.has_one(user):
            return code is not None or not settings.CAS_REQUIRE_TWO_FACTOR
        device = two_factor.verify(user, code or "")
        if device is not None:
            user.otp_device = device  # the session remembers it
        return device is not None
