"""This process's part in observing: begun once, when it starts to serve or to work."""

from functools import cache
from typing import TYPE_CHECKING

from django.conf import settings

from artifacts.admission import TRANSFERS
from casproject.observability import receivers  # noqa: F401  (connects them)
from casproject.observability.sharing import Gauges, Sharing

if TYPE_CHECKING:
    from casproject.observability.tracing import Requests

_WEB: Gauges = {
    "cas_transfers_in_progress": lambda: TRANSFERS.taken,
    "cas_transfer_slots": lambda: TRANSFERS.total,
}


@cache
def sharing() -> Sharing:
    """Its metrics, among those of others. One a process, whoever asks: a second would add what the first one wrote."""
    return Sharing(settings.CAS_DATA_DIR / "metrics")


def begin_web() -> None:
    """In a web server's process."""
    sharing().gauges = _WEB
    sharing().begin()
    _report_errors()


def begin_worker() -> None:
    """In a Celery worker's."""
    from casproject.observability import tasks  # noqa: F401, PLC0415  (connects itself; web servers have no tasks)

    sharing().begin()
    _report_errors()
    if _is_traced():
        from casproject.observability import tracing  # noqa: PLC0415  (takes a second, and memory)

        tracing.begin_worker()


def begin_traces() -> "Requests | None":
    """Of requests, in a web server's process; None when traces are switched off."""
    if not _is_traced():
        return None
    from casproject.observability import tracing  # noqa: PLC0415  (the same)

    return tracing.begin_web()


def _is_traced() -> bool:
    return bool(settings.OTEL_EXPORTER_OTLP_ENDPOINT or settings.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT)


def _report_errors() -> None:
    if settings.SENTRY_DSN:
        from casproject.observability import errors  # noqa: PLC0415  (the same)

        errors.begin()
