"""`/metrics` on a port of a worker's own, for a worker whose CAS_DATA_DIR no web server shares."""

import logging
import threading
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.db import connection
from django.http import HttpResponseNotFound

from casproject.observability.scrape import metrics

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

logger = logging.getLogger(__name__)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = 10  # seconds for a request to come

    def address_string(self) -> str:
        """Asks no name server."""
        return str(self.client_address[0])

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing of each scrape."""


def begin() -> None:
    """Serve at CAS_METRICS_PORT, if there is one, from a thread."""
    if settings.CAS_METRICS_PORT:
        serve(settings.CAS_HOST, settings.CAS_METRICS_PORT)


def serve(host: str, port: int) -> None:
    """Serve from a thread; where another worker of this machine has the port already, leave it to that one."""
    threading.Thread(target=_serve, args=(host, port), name="metrics-port", daemon=True).start()


def _serve(host: str, port: int) -> None:
    try:
        server = make_server(host, port, application, _Server, _Handler)
    except OSError as error:
        logger.warning("CAS_METRICS_PORT: /metrics is not served at %s:%d: %s", host, port, error.strerror)
        return
    server.serve_forever()


def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """WSGI: the page of the web servers, to the same clients, and nothing else."""
    request = WSGIRequest(environ)
    try:
        answer = metrics(request) if request.path_info == "/metrics" else HttpResponseNotFound()
    finally:
        connection.close()
    start_response(f"{answer.status_code} {answer.reason_phrase}", list(answer.items()))
    return [b"" if request.method == "HEAD" else answer.content]
