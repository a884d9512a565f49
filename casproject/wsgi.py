"""The WSGI application, served by granian (see Procfile)."""

import gc
import os
from collections.abc import Callable, Iterable
from multiprocessing.util import Finalize
from typing import Any

import django
from django.apps import apps
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler

from casproject import startup

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "casproject.settings")
startup.load_settings()

if not apps.ready:  # else this is a fork of casproject/serve.py's process, which did both
    django.setup(set_prefix=False)
    startup.refuse_wrong_settings()
pages = WSGIHandler()

from artifacts import late_labels, sweeping  # noqa: E402  (needs the apps loaded)
from audit import intake, nudge  # noqa: E402  (needs the apps loaded)
from casproject import drain  # noqa: E402  (needs the apps loaded)
from casproject.handlers import TransferHandler  # noqa: E402  (needs the apps loaded)
from casproject.observability import access_log, process  # noqa: E402  (needs the apps loaded)
from casproject.observability.edge import Edge  # noqa: E402  (needs the apps loaded)
from casproject.observability.exchange import Exchange  # noqa: E402  (needs the apps loaded)

_cross_origin = TransferHandler([*settings.TRANSFER_MIDDLEWARE, settings.CORS_MIDDLEWARE])
_handlers = {
    "artifacts": TransferHandler(settings.TRANSFER_MIDDLEWARE),
    "download": _cross_origin,
    "uploads": _cross_origin,
}
gc.freeze()  # what is loaded by now stays: no use in looking it through, which would stop all requests for it
nudge.wake()  # for what an earlier process left in files
late_labels.begin()  # the same for labels
sweeping.begin()  # and for what its uploads left
Finalize(None, intake.finish, exitpriority=1)  # lest this one leave events: multiprocessing's processes run no atexit
drain.listen()
process.begin_web()


def _serve(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Transfers go past the middleware that only pages need."""
    if drain.has_begun():
        start_response = drain.closing(start_response)
    handler = _handlers.get(environ["PATH_INFO"].strip("/").partition("/")[0], pages)
    return handler(environ, start_response)


at_begin: Callable[[Exchange], dict[str, str]] | None = None
at_end: list[Callable[[Exchange], None]] = []
if settings.CAS_ACCESS_LOG:
    at_end.append(access_log.write_json if settings.CAS_LOG_FORMAT == "json" else access_log.write_plain)
if (traced := process.begin_traces()) is not None:
    at_begin = traced.begin
    at_end.append(traced.end)
application = Edge(_serve, at_end, at_begin)
