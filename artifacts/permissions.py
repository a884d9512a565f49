"""Which role may do what."""

from typing import cast

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from artifacts.exceptions import WrongRole
from artifacts.tokens import DOWNLOADER, UPLOADER, Grant


class RoleAllows(BasePermission):
    """Uploads need an uploader, downloads a downloader; what a view names in `either_role` takes both."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Return True or raise WrongRole."""
        if request.method in getattr(view, "either_role", ()):
            allowed = {UPLOADER, DOWNLOADER}
        elif request.method in {"PUT", "POST"}:
            allowed = {UPLOADER}
        else:
            allowed = {DOWNLOADER}
        if cast(Grant, request.auth).role not in allowed:
            raise WrongRole
        return True


class IsUploader(BasePermission):
    """Whatever the method, it takes an uploader."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Return True or raise WrongRole."""
        if cast(Grant, request.auth).role != UPLOADER:
            raise WrongRole
        return True
