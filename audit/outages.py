"""Something that is away, told when that begins, now and then while it lasts, and when it is over."""

import logging
import time

from django.db import InterfaceError, InternalError, OperationalError

REPEAT = 60.0  # seconds between two lines while it lasts

DATABASE_ERRORS = (OperationalError, InternalError, InterfaceError)  # when the database is away, or takes nothing


class Outage:
    """Of one thing, as this process sees it."""

    def __init__(self, logger: logging.Logger, level: int = logging.WARNING) -> None:
        self._logger = logger
        self._level = level
        self._told_at: float | None = None  # by the monotonic clock

    def goes_on(self, text: str, error: Exception) -> None:
        """It is away, with this text and reason."""
        now = time.monotonic()
        if self._told_at is None or now >= self._told_at + REPEAT:
            self._logger.log(self._level, "%s: %s", text, error)
            self._told_at = now

    def is_over(self, text: str) -> None:
        """It is there."""
        if self._told_at is not None:
            self._logger.warning("%s", text)  # as loud as its beginning
            self._told_at = None
