"""Takes into the trail what waits outside of it."""

import logging

import django.db

from audit import journal, write_ahead

logger = logging.getLogger(__name__)


def take_in() -> int:
    """Move events from the write-ahead log and the journal into the trail; returns how many.

    Those that the database still refuses stay where they are.
    """
    taken = 0
    for take_in_some in (write_ahead.take_in, write_ahead.take_in_left_behind):
        try:
            taken += take_in_some()
        except django.db.Error as error:
            logger.warning("The database takes no audit events, which wait in the write-ahead log: %r", error)
            break
        except OSError as error:  # of our own segment, which is now one of those left behind
            logger.warning("The write-ahead log cannot be taken in, and waits: %r", error)
    return taken + journal.take_in()


def has_waiting() -> bool:
    """Whether something should be tried again before the next event comes."""
    return bool(journal.has_waiting() or write_ahead.left_behind())
