"""Labels that the database did not take with their upload: a file each under CAS_DATA_DIR/labels until it does.

So an upload keeps its name though it came while the database was away. A name alone is not worth a flush of the disk:
the machine, going down, may take it along. A thread of the process that wrote them, and of the next one, tries again;
it lives only while something waits.
"""

import json
import logging
import threading
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from django.conf import settings
from django.db import connections

from artifacts import labels
from artifacts.models import Location
from common.folders import write_whole
from common.waiting_files import take_in_each

logger = logging.getLogger(__name__)

INTERVAL = 5.0  # seconds between two tries


@dataclass(frozen=True, slots=True)
class LateLabel:
    """What an upload stored, and when (ISO 8601)."""

    location_id: int
    digest: str
    size_bytes: int
    file_name: str
    stored_at: str


def keep(
    location: Location, digest: str, size_bytes: int, file_name: str, stored_at: datetime, *, is_replacing: bool = False
) -> None:
    """Keep a label for later; synced where it takes away a mark, without which the artifact would not be served.

    Nothing is raised: without it the artifact is stored all the same.
    """
    label = LateLabel(location.pk, digest, size_bytes, file_name, stored_at.isoformat())
    try:
        path = _folder() / f"{stored_at.timestamp():.6f}-{uuid4()}.json"
        write_whole(path, json.dumps(asdict(label)), is_synced=is_replacing)
    except OSError:
        logger.exception("The label of artifact %s was lost: %s", digest, label)
    else:
        begin()


def pending() -> list[Path]:
    """The files that wait."""
    return sorted(_folder().glob("*.json"))


def take_in() -> int:
    """Move what waits into the database, and return how many; stops when it still takes none."""
    return take_in_each(pending(), _take_in, NoLabelError)


class NoLabelError(Exception):
    """A file holds something else."""


def _take_in(path: Path) -> None:
    try:
        label = LateLabel(**json.loads(path.read_text()))
        stored_at = datetime.fromisoformat(label.stored_at)
    except (ValueError, TypeError) as error:
        raise NoLabelError from error
    if Location.objects.filter(pk=label.location_id).exists():  # else it went, and its artifacts with it
        labels.put_late(label.location_id, label.digest, label.size_bytes, label.file_name, stored_at)
    path.unlink()


def _folder() -> Path:
    folder: Path = settings.CAS_DATA_DIR / "labels"
    return folder


_lock = threading.Lock()
_thread: threading.Thread | None = None


def begin() -> None:
    """Try again from now on, if something waits, until nothing does."""
    global _thread  # noqa: PLW0603  (one a process is the point)
    with _lock:
        # After a fork, that of the parent is not alive here.
        if (_thread and _thread.is_alive()) or not pending():
            return
        _thread = threading.Thread(target=_run, name="late-labels", daemon=True)
        try:
            _thread.start()
        except RuntimeError as error:  # the system gives no more threads
            logger.warning("Labels wait until another is late, or for the next process: %r", error)


def _run() -> None:
    global _thread  # noqa: PLW0603  (as above)
    while True:
        try:
            take_in()
        except Exception:  # whatever it is, the thread must outlive it
            logger.exception("Late labels could not be taken in")
        finally:
            connections.close_all()
        with _lock:  # whoever keeps one after this starts another thread
            if not pending():
                _thread = None
                return
        time.sleep(INTERVAL)
