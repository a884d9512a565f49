"""Takes into the trail what waits outside of it."""

import logging
import math
import time
from functools import partial

import django.db

from audit import journal, write_ahead
from audit.outages import Outage

logger = logging.getLogger(__name__)
_outage = Outage(logger)

REST = 5.0  # seconds between two tries to take in what waits


class _Refusal:
    """When the database last took nothing, by the monotonic clock; None when it has since."""

    at: float | None = None


def take_in(seconds: float = math.inf) -> int:
    """Move events from the write-ahead log and the journal into the trail; returns how many.

    Those that the database still refuses stay where they are. After so long, no further segment that others left behind
    is begun.
    """
    _Refusal.at = None
    taken = 0
    for take_in_some in (write_ahead.take_in, partial(write_ahead.take_in_left_behind, seconds)):
        try:
            taken += take_in_some()
        except django.db.Error as error:
            _outage.goes_on("The database takes no audit events, which wait in the write-ahead log", error)
            _Refusal.at = time.monotonic()
            break
        except OSError as error:  # of our own segment, which is now one of those left behind
            logger.warning("The write-ahead log cannot be taken in, and waits: %r", error)
    if taken:
        _outage.is_over("The database takes audit events again")
    return taken + journal.take_in()


def take_in_rested() -> int:
    """The same, but leave a database alone for REST that refused: each try leaves one more segment behind."""
    return 0 if _has_just_refused() else take_in()


def finish() -> None:
    """Before this process ends: move its own events, for which there may never be another process on its disk."""
    if _has_just_refused():
        return
    try:
        write_ahead.take_in()
    except (django.db.Error, OSError) as error:
        logger.warning("The last audit events of this process wait in the write-ahead log: %r", error)


def _has_just_refused() -> bool:
    return _Refusal.at is not None and time.monotonic() < _Refusal.at + REST


def has_waiting() -> bool:
    """Whether something should be tried again before the next event comes: since a refusal, our own segment too."""
    return _Refusal.at is not None or journal.has_waiting() or write_ahead.has_left_behind()
