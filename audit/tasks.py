"""Celery's side of the outbox. Thin: a task is a wake-up, whose loss costs only time."""

import logging

from celery import shared_task
from django.conf import settings

from audit import journal, nudge, outbox
from audit.publisher import Unreachable

logger = logging.getLogger(__name__)


@shared_task
def publish_pending() -> None:
    """Publish what is due; come again when there is more than one task should do."""
    journal.take_in()
    if not settings.NATS_URL:
        return
    try:
        may_have_more = outbox.publish_pending()
    except Unreachable as error:
        logger.warning("NATS is not reachable, events wait in the outbox: %s", error)
        return
    if may_have_more:
        nudge.wake()
