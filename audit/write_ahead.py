"""Where an event is kept that does not go into the trail at once: appended to a file of the process.

A download's, while its last piece goes out: it is not synced, so that neither disk nor database is waited for. What
was written outlives the process, whatever kills it; only the machine itself, going down, can take it along. And an
upload's that the database did not take: that is synced. A moment later, or once the database is back, the events go
into the trail, many in one transaction.
"""

import fcntl
import logging
import math
import os
import threading
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import django.db
from django.conf import settings

from audit import journal
from audit.event_rows import row_of
from audit.events import Event
from audit.models import AuditEvent, State
from common.folders import sync_folder
from common.transactions import write_transaction

logger = logging.getLogger(__name__)

REMEMBERED = 10_000  # events kept in memory beside the file; past these, the file is read
BATCH = 500  # events to a transaction


class WriteAheadLog:
    """The segment that this process appends to. A lock on its file tells others that its process lives."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._leave_to_parent)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._taking_in = threading.Lock()  # for who ends the process, and waits for the thread that does it
        self._forget()

    def _forget(self) -> None:
        self._descriptor: int | None = None
        self.path = Path()
        self._size = 0  # bytes
        self._is_named_durably = False
        self._events: list[Event] = []
        self._is_remembered = True

    def _leave_to_parent(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._reset()

    def append(self, event: Event) -> None:
        """Write one event; raises OSError."""
        line = _line_of(event)
        with self._lock:
            self._write(event, line)

    def append_durably(self, event: Event) -> None:
        """Write one event and sync it, outside of the lock: those who do so at once share a flush. Raises OSError."""
        line = _line_of(event)
        with self._lock:
            descriptor = os.dup(self._write(event, line))  # which may be closed before it is synced
            path, is_named = self.path, self._is_named_durably
        try:
            if not is_named:
                self._sync_name(path)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def _write(self, event: Event, line: bytes) -> int:
        descriptor = self._descriptor or self._open()
        if os.write(descriptor, line) != len(line):
            os.ftruncate(descriptor, self._size)
            raise OSError(f"{self.path} took only a part of an event.")
        self._size += len(line)
        if len(self._events) < REMEMBERED:
            self._events.append(event)
        else:
            self._is_remembered = False
        return descriptor

    def _sync_name(self, path: Path) -> None:
        for folder in (path.parent, path.parent.parent):
            sync_folder(folder)
        with self._lock:
            if self.path == path:
                self._is_named_durably = True

    def _open(self) -> int:
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{time.time_ns()}-{os.getpid()}.log"
        # Locked before it has the name by which others find it: they would take it for one left behind.
        unlocked = self.path.with_suffix(".new")
        descriptor = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            unlocked.rename(self.path)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return descriptor

    def close(self) -> None:
        """Leave the segment, if there is one, to whoever takes in what is left behind."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._forget()

    def take_in(self) -> int:
        """Move the segment's events into the trail, each once, and return how many.

        When the database refuses, the segment is synced and left behind for `take_in_left_behind`, and what the
        database raised is raised.
        """
        with self._taking_in:
            return self._take_in()

    def _take_in(self) -> int:
        with self._lock:
            if self._descriptor is None:
                return 0
            descriptor, path = self._descriptor, self.path
            events, is_remembered = self._events, self._is_remembered
            self._forget()
        try:
            taken = _insert(events) if is_remembered else _insert_all_of(path)
            path.unlink()
        except BaseException:
            os.fsync(descriptor)
            raise
        finally:
            os.close(descriptor)
        return taken


def segments() -> list[Path]:
    """All that is not in the trail yet, oldest first."""
    return sorted(_folder().glob("*.log"))


def has_left_behind() -> bool:
    """Whether there is a segment that is not this process's own."""
    return any(path != _log.path for path in _folder().glob("*.log"))


def left_behind() -> list[Path]:
    """Segments that are not this process's own, oldest first; their processes may live."""
    return [path for path in segments() if path != _log.path]


def take_in_left_behind(seconds: float = math.inf) -> int:
    """The same for segments of processes that ended, and of those that the database refused.

    None is begun after so long. One that cannot be read or removed is logged, and holds up no other.
    """
    deadline = time.monotonic() + seconds
    taken = 0
    for path in left_behind():
        if time.monotonic() > deadline:
            break
        try:
            taken += _take_in_file(path)
        except (FileNotFoundError, BlockingIOError):
            continue  # another process was faster, or its own lives
        except OSError:
            logger.exception("Segment %s of the write-ahead log cannot be read or removed; it stays", path)
    return taken


def _take_in_file(path: Path) -> int:
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        taken = _insert_all_of(path)
        path.unlink()
    return taken


def _insert_all_of(path: Path) -> int:
    """Return how many events there were; what is none is set aside, for a version that knows it or for a person."""
    strange: list[bytes] = []
    with path.open("rb") as file:
        taken = _insert(_events_in(file, strange))
    if strange:
        aside = path.with_suffix(".bad")
        aside.touch(mode=0o600)
        with aside.open("wb") as file:
            file.writelines(strange)
            file.flush()
            os.fsync(file.fileno())
    return taken


def _insert(events: Iterable[Event]) -> int:
    """Return how many; raises django.db.Error, and OSError when the journal must take one and does not."""
    state, taken = State.of_new_events(), 0
    remaining = iter(events)
    while batch := list(islice(remaining, BATCH)):
        try:
            with write_transaction():
                AuditEvent.insert([row_of(event, state) for event in batch])
        except django.db.DataError:
            for event in batch:  # the journal knows how to set aside the one that no database would take
                journal.write(event)
        taken += len(batch)
    return taken


def _events_in(lines: Iterable[bytes], strange: list[bytes]) -> Iterator[Event]:
    for line in lines:
        try:
            if line.endswith(b"\n"):  # else its process was killed before it was whole, and its transfer with it
                yield journal.event_of(line)
        except journal.NoEventError:
            logger.critical("The write-ahead log holds what is no event: %r", line)
            strange.append(line)


def _line_of(event: Event) -> bytes:
    return f"{journal.json_of(event)}\n".encode()


def _folder() -> Path:
    folder: Path = settings.CAS_DATA_DIR / "write-ahead"
    return folder


_log = WriteAheadLog()
append = _log.append
append_durably = _log.append_durably
take_in = _log.take_in
