"""Django's request handler, for transfers."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler, get_script_name
from django.db import connection
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from casproject.observability.exchange import CURRENT

_WITHOUT_LENGTH = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}  # RFC 9110, section 8.6


class TransferHandler(WSGIHandler):
    """Serves transfers with a few of settings.MIDDLEWARE: they have no session, user, form or page.

    The rest took as long as authenticating, finding, reading and hashing a small artifact.
    """

    def __init__(self, middleware: list[str]) -> None:
        self._middleware = middleware
        super().__init__()

    def load_middleware(self, is_async: bool = False) -> None:
        """Build the chain; called once, when the handler is made."""
        everything = settings.MIDDLEWARE
        settings.MIDDLEWARE = self._middleware  # Django reads it from there alone
        try:
            super().load_middleware(is_async)
        finally:
            settings.MIDDLEWARE = everything

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # type: ignore[override]
        """Django's own, without what transfers do not have (cookies), and with one look at the connection, not three.

        An answer that is whole goes out as a list: granian sends that by itself, and the thread is free.
        """
        set_script_prefix(get_script_name(environ))
        connection.close_if_unusable_or_obsolete()  # what request_started and request_finished are for
        request = self.request_class(environ)
        response = self.get_response(request)
        if exchange := CURRENT.get():
            exchange.grant = getattr(request, "auth", None)  # where REST framework leaves it
        start_response(f"{response.status_code} {response.reason_phrase}", list(response.headers.items()))
        if response.streaming:
            return response
        return [response.content]  # type: ignore[attr-defined]

    def get_response(self, request: HttpRequest) -> HttpResponseBase:
        """Answer with a length: an answer in chunks may be cut between its head and its end when its sender hangs up.

        Which is what a refused upload's sender does to a proxy that is still sending.
        """
        response = super().get_response(request)
        if not response.streaming and response.status_code not in _WITHOUT_LENGTH:
            response.headers.setdefault("Content-Length", str(len(response.content)))  # type: ignore[attr-defined]
        return response
