"""Bearer tokens for DRF: `request.auth` becomes the Grant."""

from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from artifacts.exceptions import InvalidToken
from artifacts.key_ring import verify_token
from artifacts.tokens import Grant


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer <jwt>` (RFC 6750)."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, Grant]:
        """Return the grant; raise InvalidToken, also when there is no token: nothing here is public."""
        return AnonymousUser(), verify_token(self.find_token(request))

    def find_token(self, request: Request) -> str:
        header: str = request.META.get("HTTP_AUTHORIZATION", "")
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise InvalidToken
        return token.strip()


class BearerOrQueryAuthentication(BearerAuthentication):
    """The same, or `?t=<jwt>` for browsers, which cannot set a header on a link."""

    def find_token(self, request: Request) -> str:
        return request.query_params.get("t") or super().find_token(request)
