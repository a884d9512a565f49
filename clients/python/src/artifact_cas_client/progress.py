"""How far transfers have come: what a Client tells, and a line on a terminal that shows it."""

import sys
import threading
import time
from typing import Protocol, TextIO

_WIDTH = 24
_SECONDS = 0.1  # between two drawings


class Progress(Protocol):
    """Told by any thread."""

    def begin(self, size: int) -> None:
        """A transfer of this many bytes has begun."""

    def advance(self, count: int) -> None:
        """So many more of them are over; less than 0 when some must be sent again."""


class Silent:
    """Shows nothing."""

    def begin(self, size: int) -> None: ...

    def advance(self, count: int) -> None: ...

    def write(self, text: str, stream: TextIO) -> None:
        stream.write(f"{text}\n")
        stream.flush()

    def close(self) -> None: ...


class Bar(Silent):
    """One line on standard error for all transfers together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total = self._done = 0
        self._started = time.monotonic()
        self._drawn = 0.0

    def begin(self, size: int) -> None:
        with self._lock:
            self._total += size
            self._draw()

    def advance(self, count: int) -> None:
        with self._lock:
            self._done += count
            self._draw()

    def write(self, text: str, stream: TextIO) -> None:
        """Print a line above the bar."""
        with self._lock:
            self._clear()
            super().write(text, stream)
            self._drawn = 0.0
            self._draw()

    def close(self) -> None:
        with self._lock:
            self._clear()

    def _draw(self) -> None:
        now = time.monotonic()
        if now - self._drawn < _SECONDS or not self._total:
            return
        self._drawn = now
        part = min(1.0, self._done / self._total)
        rate = self._done / max(now - self._started, 0.001)
        bar = "#" * round(part * _WIDTH)
        line = f"[{bar:<{_WIDTH}}] {part:4.0%}  {_size(self._done)} of {_size(self._total)}  {_size(rate)}/s"
        sys.stderr.write(f"\r{line}\x1b[K")
        sys.stderr.flush()

    def _clear(self) -> None:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):  # noqa: B007 -- the last is used after the loop
        if abs(count) < 999.5:  # noqa: PLR2004
            break
        count /= 1000
    else:
        unit = "TB"
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
