"""This process's part in observing: begun once, when it starts to serve or to work."""

from functools import cache

from django.conf import settings

from artifacts.admission import TRANSFERS
from casproject.observability import receivers  # noqa: F401  (connects them)
from casproject.observability.sharing import Gauges, Sharing

_WEB: Gauges = {
    "cas_transfers_in_progress": lambda: TRANSFERS.taken,
    "cas_transfer_slots": lambda: TRANSFERS.total,
}


@cache
def sharing(is_web: bool = True) -> Sharing:
    """Its metrics, among those of others."""
    return Sharing(settings.CAS_DATA_DIR / "metrics", _WEB if is_web else {})


def begin_web() -> None:
    """In a web server's process."""
    sharing().begin()


def begin_worker() -> None:
    """In a Celery worker's."""
    from casproject.observability import tasks  # noqa: F401, PLC0415  (connects itself; web servers have no tasks)

    sharing(is_web=False).begin()
