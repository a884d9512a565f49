"""Upkeep in small pieces, on a queue of its own: publishing does not wait for it."""

import logging
import time
from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from artifacts import sweeping
from artifacts.exceptions import StorageError
from artifacts.models import Location, Scrub
from artifacts.rate_limit import RateLimit
from artifacts.scrub_findings import Finding, State
from artifacts.scrub_lease import LeaseLost, ScrubRunning
from artifacts.scrubbing import Stopped, Watcher, scrub
from common import alive
from common.worker import is_ending

logger = logging.getLogger(__name__)

SLICE_SECONDS = 50  # of the minute between two beats; an artifact that was begun is finished


@shared_task
def sweep_incoming() -> None:
    """Remove what uploads left behind."""
    if removed := sweeping.sweep():
        logger.info("Removed %d leftover(s) of uploads", removed)


@shared_task
def scrub_slice() -> None:
    """Go on with the scrub of one location after the other for SLICE_SECONDS, unless somebody else does."""
    limit = RateLimit(settings.CAS_SCRUB_BYTES_PER_SECOND)
    if not limit.rate:
        return  # switched off since this was sent
    deadline = time.monotonic() + SLICE_SECONDS
    for location in Location.objects.order_by("pk"):
        if _is_due(location):
            try:
                scrub(location, limit=limit, watcher=_Log(), deadline=deadline)
            except StorageError as error:
                logger.warning("%s could not be scrubbed: %s", location, error)
            except (ScrubRunning, LeaseLost, Stopped):
                return
        if time.monotonic() > deadline:
            return


def _is_due(location: Location) -> bool:
    """Whether a pass is unfinished, or the last one was finished long ago."""
    long_ago = timezone.now() - timedelta(days=settings.CAS_SCRUB_EVERY_DAYS)
    scrubs = Scrub.objects.filter(location=location)
    return scrubs.filter(finished_at=None).exists() or not scrubs.filter(finished_at__gt=long_ago).exists()


class _Log(Watcher):
    def read(self, count: int) -> None:
        alive.touch()  # one artifact may take hours
        if is_ending():
            raise Stopped

    def done(self, finding: Finding) -> None:
        if finding.state in {State.CORRUPT, State.MISSING, State.UNREADABLE}:
            logger.error("Scrub: artifact %s is %s %s", finding.digest, finding.state, finding.detail)
