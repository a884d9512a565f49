"""Celery's side of the trail's upkeep. Thin, as audit/tasks.py is."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import django.db
from celery import shared_task
from django.conf import settings

from audit import (
    checkpointing,
    heartbeat,
    metrics,
    organization_ranking,
    organizations,
    retention,
    sealing,
    stream_state,
    sums_of_all,
)
from audit.chain_reading import RefusedError
from audit.keys import KeyFileError
from audit.last_checkpoint import LostCheckpointError
from audit.outages import Outage

logger = logging.getLogger(__name__)

RETENTION_SECONDS = 50  # of a run; a scrub and a sweep wait for it

_lost_checkpoint = Outage(logger, logging.CRITICAL)


@shared_task
def seal() -> None:
    """Seal what waits, for a while, and write a checkpoint when it is time; the rest waits for the next beat."""
    with _sealing_problems_told():
        _seal()


def seal_if_late() -> None:
    """The same, if nobody has for a while; for a worker whose other tasks keep messages to seal from their turn."""
    with _sealing_problems_told():
        if sealing.is_late():
            _seal()


def _seal() -> None:
    sealing.take_turn()
    if checkpointing.checkpoint_if_due():
        _lost_checkpoint.is_over("Checkpoints are written again")


@contextmanager
def _sealing_problems_told() -> Iterator[None]:
    try:
        yield
    except KeyFileError as error:
        logger.error("No checkpoint could be signed: %s", error)
    except LostCheckpointError as error:
        metrics.CHECKPOINTS_REFUSED.add(1)
        _lost_checkpoint.goes_on("No checkpoint is written", error)
    except django.db.Error as error:
        logger.warning("The database seals no audit events, which wait: %r", error)


@shared_task
def remove_expired() -> None:
    """Remove events older than AUDIT_RETENTION_DAYS, for a while; come again when that was not enough.

    Not while they are all there is but for the last day: then a clock may be ahead, and nothing brings them back.
    """
    if not settings.AUDIT_RETENTION_DAYS:
        return  # switched off since this was sent
    started = time.monotonic()
    try:
        before = retention.cutoff(settings.AUDIT_RETENTION_DAYS)
        if not retention.has_settled(before):
            _tell_what_stays(retention.lag(settings.AUDIT_RETENTION_DAYS))
            return
        removed = sum(retention.remove_expired(before, seconds=RETENTION_SECONDS))
    except (RefusedError, KeyFileError) as error:
        logger.error("Events could not be removed: %s", error)
        return
    except django.db.Error as error:
        logger.warning("The database removes no audit events, which stay: %r", error)
        return
    if not removed:
        return
    logger.info("Removed events that were older than AUDIT_RETENTION_DAYS: %d", removed)
    if time.monotonic() - started >= RETENTION_SECONDS:
        # One that waits for two others is one too many: beat sends them, too.
        remove_expired.apply_async(expires=1.5 * RETENTION_SECONDS)


def _tell_what_stays(lag: float) -> None:
    """By age: a count would read the whole trail, every ten minutes."""
    if lag:
        logger.critical(
            "Events that are older than AUDIT_RETENTION_DAYS stay, the oldest for %.1f days: all there is but for the "
            "last day. Is the clock right? Then they leave in a day, or now by manage.py remove_expired_events",
            lag / 86400,
        )


@shared_task
def watch() -> None:
    """Write down how the stream is, for whoever looks at the front page; this worker's heartbeat comes with it."""
    try:
        heartbeat.forget_the_gone()
        if settings.NATS_URL:
            stream_state.report(str(watch.request.hostname or "worker"))
    except django.db.Error as error:
        logger.warning("The database takes no report of the stream: %r", error)


@shared_task
def rank_organizations() -> None:
    """Keep in order what is too much to put in order for each page, and add organizations that nobody did."""
    try:
        sums_of_all.catch_up_after_upgrade()
        organizations.add_unknown()
        organization_ranking.keep_rankings()
    except django.db.Error as error:
        logger.warning("The database ranks no organizations: %r", error)
