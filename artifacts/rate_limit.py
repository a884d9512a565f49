"""How fast a scrub may read. Pure: no Django."""

import time
from collections.abc import Callable

BURST = 0.1  # seconds whose bytes may be caught up on after a pause


class RateLimit:
    """A token bucket: whoever takes bytes waits until they are due. `rate` is in bytes a second, 0: any number."""

    def __init__(
        self,
        rate: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.rate = rate
        self._clock = clock
        self._sleep = sleep
        self._paid_until = clock()

    @property
    def piece(self) -> int | None:
        """Bytes that are worth taking at once, so that no wait is longer than a moment; None: any number."""
        return max(1, self.rate // 4) if self.rate else None

    def take(self, count: int) -> None:
        """Wait for as long as these bytes must take."""
        if not self.rate:
            return
        now = self._clock()
        self._paid_until = max(self._paid_until, now - BURST) + count / self.rate
        if self._paid_until > now:
            self._sleep(self._paid_until - now)
