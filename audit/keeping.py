"""An event into the trail, and what becomes of one that the database does not take."""

import logging
from typing import Any

from django.conf import settings

from audit import journal, nudge
from audit.act_events import ActEvent
from audit.events import Event
from audit.models import insertion
from common import group_commit
from common.transactions import after_commit

logger = logging.getLogger(__name__)


def keep(event: Event | ActEvent, row: list[Any]) -> None:
    """Insert the event's row, in a transaction with others, or give the event to the journal; wake the worker.

    Inside a transaction the event becomes part of it. Nothing that a database does is raised.
    """
    try:
        group_commit.write(insertion(), row)
    except Exception as error:  # noqa: BLE001  (whatever it is, the event must not be lost; its id keeps it from being two)
        logger.warning("The database did not take audit event %s; it goes to the journal: %r", event.event_id, error)
        after_commit(lambda: journal.append(event))
        after_commit(nudge.wake)
        return
    if settings.NATS_URL:
        after_commit(nudge.wake)
