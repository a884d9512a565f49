"""Waiting before another attempt."""

import random
import threading

from artifact_cas_client.errors import Cancelled, CasError, ServerError

FIRST = 0.5  # seconds
LONGEST = 30.0


class Backoff:
    """Waits longer after each failure in a row, or as long as `Retry-After` says, and gives up in the end."""

    def __init__(self, retries: int, cancelled: threading.Event) -> None:
        self._retries = retries
        self._cancelled = cancelled
        self._failures = 0

    def reset(self) -> None:
        """There was progress."""
        self._failures = 0

    def wait(self, error: CasError) -> None:
        """Wait, or raise the error when it is none to try again after, or there were too many; raises Cancelled."""
        if self._cancelled.is_set():
            raise Cancelled("The transfer was cancelled.") from error
        if not error.is_transient or self._failures >= self._retries:
            raise error
        seconds = min(LONGEST, FIRST * 2**self._failures) * random.uniform(0.75, 1.25)  # noqa: S311 -- to spread clients
        if isinstance(error, ServerError) and error.retry_after is not None:
            seconds = max(error.retry_after, seconds) if self._failures else error.retry_after
        self._failures += 1
        self._sleep(seconds, error)

    def pause(self, error: ServerError) -> None:
        """Wait for what takes the server its time, and is no failure; raises Cancelled."""
        self._sleep(max(FIRST, error.retry_after or 0), error)

    def _sleep(self, seconds: float, error: CasError) -> None:
        if self._cancelled.wait(seconds):
            raise Cancelled("The transfer was cancelled.") from error
