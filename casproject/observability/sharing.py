"""The metrics of all processes: each writes its own to a file once a second, and whoever is asked adds them up.

Under CAS_DATA_DIR/metrics: `<name>.json` with the values and `<name>.lock`, locked while its process lives. What
ended processes counted is added up in `ended.json`, so that nothing goes down when one ends. Files are replaced whole,
by a thread that no transfer waits for: a full disk, or a folder that is gone, costs freshness and nothing else.
"""

import atexit
import fcntl
import itertools
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from common.metrics import METRICS, Labels, Series

logger = logging.getLogger(__name__)

INTERVAL = 1.0  # seconds between two writes
SWEEP = 30.0  # seconds between two looks for processes that ended
ENDED = "ended.json"

Gauges = dict[str, Callable[[], float]]


@dataclass
class Totals:
    """Values by metric; of `gauges` those of processes that live."""

    counts: dict[str, Series] = field(default_factory=dict)
    gauges: dict[str, float] = field(default_factory=dict)
    processes: int = 0

    def add(self, counts: dict[str, Series]) -> None:
        """Add another process's. What another version counted in other buckets is left out."""
        for name, series in counts.items():
            known = METRICS.get(name)
            if known is None:
                continue
            mine = self.counts.setdefault(name, {})
            for labels, values in series.items():
                sums = mine.get(labels)
                if len(labels) != len(known.labels) or len(values) != known.width:
                    continue
                mine[labels] = values if sums is None else [a + b for a, b in zip(sums, values, strict=True)]

    def add_gauges(self, gauges: dict[str, float]) -> None:
        for name, value in gauges.items():
            self.gauges[name] = self.gauges.get(name, 0) + value


class Sharing:
    """This process's part in it; `gauges` are read when values are written."""

    def __init__(self, folder: Path, gauges: Gauges | None = None) -> None:
        self._folder = folder
        self.gauges = gauges or {}
        self.name = _new_name()
        self._lock_file: int | None = None
        self._written = ""
        self._is_failing = False
        self._over = threading.Event()
        self._writing = threading.Lock()  # the thread's, a scrape's, and whoever ends the process

    def begin(self) -> None:
        """Write from now on, from a thread of its own, and once more when the process ends; in its forks as well."""
        self._start()
        atexit.register(self.end)
        Finalize(None, self.end, exitpriority=0)  # multiprocessing's processes, such as granian's, run no atexit
        os.register_at_fork(after_in_child=self._begin_in_child)

    def _start(self) -> None:
        threading.Thread(target=self._run, name="metrics", daemon=True).start()

    def _begin_in_child(self) -> None:
        for metric in METRICS.values():
            metric.reset()  # they are the parent's
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None
        self.name, self._written, self._over = _new_name(), "", threading.Event()
        self._writing = threading.Lock()
        self._start()

    def end(self) -> None:
        """Write for the last time."""
        self._over.set()
        self.share()

    def _run(self) -> None:
        sweep_at = 0.0
        while not self._over.is_set():
            self.share()
            if time.monotonic() >= sweep_at:
                sweep_at = time.monotonic() + SWEEP
                with suppress(OSError):
                    self.sweep()
            self._over.wait(INTERVAL)

    def share(self) -> Totals:
        """Write this process's values, if they changed, and return them. What goes wrong is logged once in a row."""
        with self._writing:
            own = Totals({name: metric.read() for name, metric in METRICS.items()}, self._read_gauges(), 1)
            try:
                self._write(own)
                self._is_failing = False
            except Exception as error:  # noqa: BLE001  (neither the thread nor a scrape may end with what a disk does)
                if not self._is_failing:
                    logger.warning("Metrics of this process cannot be shared: %r", error)
                self._is_failing = True
            return own

    def _write(self, own: Totals) -> None:
        counts = {name: _as_json(series) for name, series in own.counts.items()}
        content = json.dumps({"counts": counts, "gauges": own.gauges})
        path = self._folder / f"{self.name}.json"
        if content == self._written and path.exists():
            return
        self._hold_lock()
        _replace(path, content)
        self._written = content

    def _read_gauges(self) -> dict[str, float]:
        return {name: read() for name, read in self.gauges.items()}

    def _hold_lock(self) -> None:
        path = self._folder / f"{self.name}.lock"
        if self._lock_file is not None and path.exists():
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None
        with self._folder_locked(fcntl.LOCK_SH):  # or a sweep takes it, not locked yet, for that of one that ended
            self._lock_file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def collect(self) -> Totals:
        """Everybody's values, this process's own as they are now; without what cannot be read.

        What is shown of this process is shared first: whichever is asked next shows no less.
        """
        totals = self.share()
        with suppress(OSError), self._folder_locked(fcntl.LOCK_SH):
            ended = _read(self._folder / ENDED)
            totals.add(ended.counts)
            for path in self._others():
                if path.stem in ended.names:
                    continue
                process = _read(path)
                totals.add(process.counts)
                if _is_locked(path.with_suffix(".lock")):
                    totals.processes += 1
                    totals.add_gauges(process.gauges)
        return totals

    def sweep(self) -> int:
        """Add up what ended processes left, and remove their files; returns how many. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._folder_locked(fcntl.LOCK_EX):
            locks = {path.with_suffix(".json") for path in self._folder.glob("*.lock") if path.stem != self.name}
            ended = [path for path in locks.union(self._others()) if not _is_locked(path.with_suffix(".lock"))]
            if not ended:
                return 0
            before = _read(self._folder / ENDED)
            sums = Totals()
            sums.add(before.counts)
            for path in ended:
                if path.stem not in before.names:  # else it was added and then not removed
                    sums.add(_read(path).counts)
            counts = {name: _as_json(series) for name, series in sums.counts.items()}
            _replace(self._folder / ENDED, json.dumps({"counts": counts, "names": [path.stem for path in ended]}))
            for path, suffix in itertools.product(ended, (".json", ".partial", ".lock")):
                path.with_suffix(suffix).unlink(missing_ok=True)
            return len(ended)

    def _others(self) -> list[Path]:
        return [path for path in self._folder.glob("*.json") if path.name != ENDED and path.stem != self.name]

    @contextmanager
    def _folder_locked(self, kind: int) -> Iterator[None]:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # to close it is not enough: a fork meanwhile has it open too
            os.close(descriptor)


def _new_name() -> str:
    return f"{time.time_ns()}-{os.getpid()}"


@dataclass(frozen=True, slots=True)
class _Written:
    counts: dict[str, Series]
    gauges: dict[str, float]
    names: list[str]


def _read(path: Path) -> _Written:
    """What a process wrote; nothing when it cannot be read, as one that is not whole after a power cut."""
    try:
        content: Any = json.loads(path.read_bytes())
        counts = {
            name: {tuple(labels): [float(value) for value in values] for labels, values in series}
            for name, series in content["counts"].items()
        }
        return _Written(counts, content.get("gauges", {}), content.get("names", []))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return _Written({}, {}, [])


def _as_json(series: Series) -> list[tuple[Labels, list[float]]]:
    return list(series.items())


def _replace(path: Path, content: str) -> None:
    partial = path.with_suffix(".partial")
    try:
        partial.write_text(content)
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
