"""What server processes cost, from /proc: CPU seconds and resident memory of whole process trees."""

import os
import threading
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def tree(roots: Iterable[int]) -> list[int]:
    """These processes and all that descend from them."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (fields := _stat(int(entry.name))):
            children[int(fields[1])].append(int(entry.name))
    found = list(roots)
    for pid in found:
        found += children[pid]
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat after the command's name; none when the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def cpu_seconds(roots: Iterable[int]) -> float:
    """User and system time so far, of those too that have ended and were waited for."""
    return sum(sum(map(int, fields[11:15])) for pid in tree(roots) if (fields := _stat(pid))) / _TICKS


class MemoryWatch:
    """Samples resident memory while its `with` block runs."""

    def __init__(self, roots: Iterable[int], interval: float = 0.02) -> None:
        self.peak_sum = 0
        self.peaks: dict[str, int] = defaultdict(int)
        self._names = {pid: f"{_name(pid)} {pid}" for pid in tree(roots)}
        self._interval = interval
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def peak_one(self) -> int:
        """Bytes of the largest process."""
        return max(self.peaks.values(), default=0)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            sizes = {name: _resident(pid) for pid, name in self._names.items()}
            self.peak_sum = max(self.peak_sum, sum(sizes.values()))
            for name, size in sizes.items():
                self.peaks[name] = max(self.peaks[name], size)
            if self._ended.wait(self._interval):
                return


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0
