"""How many transfers a web process takes at once, so that slow clients leave threads for everybody else.

A thread waits for its client for as long as that pleases: under WSGI no read of a body, and no write of an answer, can
be broken off. What can be done is to let waiting use up some of the threads and never all.
"""

import threading
from collections import Counter

from django.conf import settings

from artifacts.exceptions import Busy

# Who sends a body and showed no valid token: it is read and dropped, which may take as long as an upload.
NOBODY = None


class Slots:
    """A number of places, of which no holder gets more than its share; what it shares is left for others."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._share = max(1, total * 3 // 4)
        # With a whole organization's share, it still leaves an eighth; of few it is one, but never the only one.
        self._share_of_nobody = min(max(1, total // 8), total - 1)
        self._held: Counter[str | None] = Counter()
        # Reentrant: a slot that nobody released is released by the garbage collector, wherever that runs.
        self._lock = threading.RLock()

    def take(self, holder: str | None) -> "Slot":
        """Take one; raises Busy when all, or the holder's share of them, are taken."""
        share = self._share_of_nobody if holder is NOBODY else self._share
        with self._lock:
            if self._held.total() >= self._total or self._held[holder] >= share:
                raise Busy
            self._held[holder] += 1
        return Slot(self, holder)

    @property
    def total(self) -> int:
        """How many there are."""
        return self._total

    @property
    def taken(self) -> int:
        """How many are taken now."""
        return self._held.total()

    def _give_back(self, holder: str | None) -> None:
        with self._lock:
            self._held[holder] -= 1
            if not self._held[holder]:
                del self._held[holder]  # organizations come and go


class Slot:
    """One place, until it is released; more than once does no harm."""

    def __init__(self, slots: Slots, holder: str | None) -> None:
        self._slots: Slots | None = slots
        self._holder = holder

    def release(self) -> None:
        slots, self._slots = self._slots, None
        if slots is not None:
            slots._give_back(self._holder)

    # For an answer that is dropped on its way out, which nobody closes.
    __del__ = release


TRANSFERS = Slots(settings.CAS_MAX_TRANSFERS)
