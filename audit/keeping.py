"""An event into the trail, and what becomes of one that the database does not take."""

import logging
from typing import Any

import django.db
from django.conf import settings

from audit import journal, nudge, write_ahead
from audit.act_events import ActEvent
from audit.events import Event
from audit.models import insertion
from common import group_commit
from common.transactions import after_commit

logger = logging.getLogger(__name__)


def keep(event: Event | ActEvent, row: list[Any]) -> None:
    """Insert the event's row, in a transaction with others, or keep the event in a file; wake the worker.

    Inside a transaction the event becomes part of it. Nothing that a database does is raised.
    """
    try:
        group_commit.write(insertion(), row)
    except Exception as error:  # noqa: BLE001  (whatever it is, the event must not be lost; its id keeps it from being two)
        logger.warning("The database did not take audit event %s; it waits in a file: %r", event.event_id, error)
        # One that no database would take must not be in a file with others.
        append = journal.append if isinstance(error, django.db.DataError) else _append
        after_commit(lambda: append(event))
        after_commit(nudge.wake)
        return
    if settings.NATS_URL:
        after_commit(nudge.wake)


def _append(event: Event | ActEvent) -> None:
    """A transfer's to the log that many share, with one flush of the disk; else to a file of its own."""
    if isinstance(event, Event):
        try:
            write_ahead.append_durably(event)
        except OSError as error:
            logger.warning("The write-ahead log did not take audit event %s: %r", event.event_id, error)
        else:
            return
    journal.append(event)
