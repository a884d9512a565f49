"""Removes what uploads left behind that nobody will finish."""

import logging
import threading
from datetime import timedelta

from django.conf import settings
from django.db import connections
from django.utils import timezone

from artifacts import resumable
from artifacts.exceptions import ArtifactError
from artifacts.models import Location, ResumableUpload
from artifacts.storage import open_store
from common import alive

logger = logging.getLogger(__name__)


def sweep(older_than: timedelta | None = None) -> int:
    """Remove expired uploads, and leftovers last written so long ago (default: CAS_UPLOAD_EXPIRES_HOURS).

    Returns how many. A location that fails is logged, and the others are swept all the same. Raises django.db.Error.
    """
    age = timedelta(hours=settings.CAS_UPLOAD_EXPIRES_HOURS) if older_than is None else older_than
    removed = resumable.sweep_uploads()
    before = timezone.now() - age
    # Of any location: two may share a folder or a bucket. What begins after this is younger.
    live = {str(pk) for pk in ResumableUpload.objects.filter(result="").values_list("pk", flat=True)}
    for location in Location.objects.order_by("pk"):
        alive.touch()  # a storage that does not answer takes minutes
        try:
            removed += open_store(location).sweep(before, live)
        except ArtifactError as error:
            logger.warning("What uploads left in %s could not be swept: %s", location, error)
    return removed


def begin() -> None:
    """Sweep once, in a thread of its own: returns at once, raises nothing, and does not hold up the end."""
    try:
        threading.Thread(target=_sweep_and_close, name="sweep", daemon=True).start()
    except RuntimeError as error:  # the system gives no more threads
        logger.warning("What uploads left is not swept: %r", error)


def _sweep_and_close() -> None:
    try:
        sweep()
    except Exception as error:  # noqa: BLE001  (whatever it is, the sweep of the next hour will see it)
        logger.warning("What uploads left could not be swept: %r", error)
    finally:
        connections.close_all()
