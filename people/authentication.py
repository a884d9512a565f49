"""Name and password at `/api/`, which asks for no code."""

from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.authentication import BasicAuthentication
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.request import Request

from audit import acts
from people import throttle

LOCKED = "Too many attempts."
# One answer for all: nobody is told that a name exists, or that a password is right.
REFUSED = (
    "Wrong name or password, or an account that needs a second factor, which is not asked for here: "
    "accounts of scripts have the role Script."
)


class PasswordAuthentication(BasicAuthentication):
    """REST framework's, which says what may be wrong, and when to try again."""

    def authenticate_credentials(self, userid: str, password: str, request: Request | None = None) -> tuple[User, None]:
        try:
            return super().authenticate_credentials(userid, password, request)
        except AuthenticationFailed:
            address = acts.address_of(request) if request is not None else ""
            if until := throttle.locked_until(throttle.counters(userid, address)):
                raise Throttled((until - timezone.now()).total_seconds(), LOCKED) from None
            raise AuthenticationFailed(REFUSED) from None
