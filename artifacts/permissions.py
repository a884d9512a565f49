"""Which role may do what."""

from typing import cast

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from artifacts.exceptions import WrongRole
from artifacts.tokens import DOWNLOADER, UPLOADER, Grant

_SHOWN = 64  # characters of a role that is none


class RoleAllows(BasePermission):
    """Uploads need an uploader, downloads a downloader; what a view names in `either_role` takes both."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Return True or raise WrongRole."""
        if request.method in getattr(view, "either_role", ()):
            return _require(request, UPLOADER, DOWNLOADER)
        return _require(request, UPLOADER if request.method in {"PUT", "POST"} else DOWNLOADER)


class IsUploader(BasePermission):
    """Whatever the method, it takes an uploader."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Return True or raise WrongRole."""
        return _require(request, UPLOADER)


def _require(request: Request, *allowed: str) -> bool:
    role = cast(Grant, request.auth).role
    if role not in allowed:
        raise WrongRole(f"The token's role is {role[:_SHOWN]!r}, and this takes {' or '.join(map(repr, allowed))}.")
    return True
