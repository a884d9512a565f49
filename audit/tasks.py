"""Celery's side of the outbox. Thin: a task is a wake-up, whose loss costs only time."""

import logging
import time

from celery import shared_task
from django.conf import settings

from audit import draining, intake, nudge, outbox, upkeep_tasks
from audit.consumer import Consumer, StreamError
from audit.mirror import Mirror
from audit.outages import DATABASE_ERRORS, Outage
from audit.publisher import Unreachable
from common.worker import is_ending

logger = logging.getLogger(__name__)

TAKE_IN_SECONDS = 10  # publishing and sealing wait for it
MIRROR_SECONDS = 20  # a scrub and a sweep wait for it

_unreachable, _unreadable, _no_database, _not_taken = Outage(logger), Outage(logger), Outage(logger), Outage(logger)


@shared_task
def publish_pending() -> None:
    """Publish what is due; come again when there is more than one task should do. Seal, too, if that is late."""
    intake.take_in(TAKE_IN_SECONDS)
    if settings.NATS_URL:
        _publish()
    upkeep_tasks.seal_if_late()


def _publish() -> None:
    outbox.rest()
    try:
        may_have_more = outbox.publish_pending()
    except Unreachable as error:
        _unreachable.goes_on("NATS is not reachable, events wait in the outbox", error)
        return
    except DATABASE_ERRORS as error:
        _no_database.goes_on("The database lets no events be published, which wait in it", error)
        return
    _unreachable.is_over("NATS is reachable again")
    _no_database.is_over("The database lets events be published again")
    if may_have_more:
        nudge.wake()


@shared_task
def mirror_stream() -> None:
    """Take in what others published since the last time, for MIRROR_SECONDS; several at once share the consumer."""
    if not (settings.CAS_MIRROR and settings.NATS_URL):
        return  # switched off since this was sent
    mirror, deadline = Mirror(), time.monotonic() + MIRROR_SECONDS
    try:
        with Consumer(name=settings.CAS_MIRROR_CONSUMER) as source:
            draining.drain(
                source,
                mirror.take_in,
                should_stop=lambda: time.monotonic() > deadline or is_ending(),
                is_patient=False,
            )
    except StreamError as error:
        _unreadable.goes_on("The stream could not be mirrored", error)
    except DATABASE_ERRORS as error:
        _not_taken.goes_on("The database takes nothing of the stream, which keeps it", error)
    else:
        _unreadable.is_over("The stream is mirrored again")
        if mirror.taken_in or mirror.known or mirror.too_old:  # what was not taken comes again later
            _not_taken.is_over("The database takes what the stream has again")
    if mirror.taken_in or mirror.too_old:
        logger.info("Mirror: %s", mirror)
