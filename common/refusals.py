"""What a database does not take, as one that is read-only or has lost a table, is not tried by each who comes."""

import time
from collections.abc import Hashable

from django.db import OperationalError

PAUSE = 1.0  # seconds between two tries


class Refusals:
    """Kinds of write that the database refused last, whatever their rows, and why."""

    def __init__(self) -> None:
        self._next_try: dict[Hashable, tuple[float, str]] = {}  # by time.monotonic

    def begin(self, kind: Hashable, reason: str) -> None:
        """One was refused."""
        self._next_try[kind] = time.monotonic() + PAUSE, reason

    def end(self, kind: Hashable) -> None:
        """One was taken."""
        self._next_try.pop(kind, None)

    def excuse(self, kind: Hashable) -> OperationalError | None:
        """Why one is not to be tried; None when it is, and then others leave the next PAUSE to it."""
        if not (refused := self._next_try.get(kind)):
            return None
        at, reason = refused
        if time.monotonic() >= at:
            self.begin(kind, reason)
            return None
        return OperationalError(f"The database refused the like a moment ago: {reason}")

    def __bool__(self) -> bool:
        return bool(self._next_try)
