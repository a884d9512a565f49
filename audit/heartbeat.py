"""Workers write down that they are there, for whoever watches: the embedded broker has no way to ask them."""

import logging
import time
from datetime import timedelta
from typing import Any

import django.db
from celery import signals
from django.utils import timezone

from audit import journal, write_ahead
from audit.models import WorkerBeat

logger = logging.getLogger(__name__)

EVERY = 10.0  # seconds, at least, between two of one worker
FORGOTTEN = timedelta(days=1)
KINDS = ("celery", "maintenance")  # what the Procfile's workers are called, before the machine's name

_last = -EVERY


def beat(name: str) -> None:
    """Write it down, now and then; a database that does not take it is no news here."""
    global _last  # noqa: PLW0603  (of this process)
    if time.monotonic() - _last < EVERY:
        return
    _last = time.monotonic()
    try:
        values = {"seen_at": timezone.now(), "waiting_files": len(journal.pending()) + len(write_ahead.left_behind())}
        WorkerBeat.objects.update_or_create(name=name[:200], defaults=values)
    except (django.db.Error, OSError) as error:
        logger.debug("No heartbeat: %r", error)


def forget_the_gone() -> None:
    """Remove workers that have not been seen for FORGOTTEN, but of each kind the last: that it is silent is news."""
    kinds = [WorkerBeat.objects.filter(name__startswith=f"{kind}@") for kind in KINDS]
    last = [beats.order_by("-seen_at").values_list("pk", flat=True).first() for beats in kinds]
    gone = WorkerBeat.objects.filter(seen_at__lt=timezone.now() - FORGOTTEN)
    gone.exclude(pk__in=[pk for pk in last if pk is not None]).delete()


@signals.worker_ready.connect
def _beat_at_start(sender: Any = None, **kwargs: Any) -> None:
    beat(str(getattr(sender, "hostname", "")) or "worker")


@signals.task_postrun.connect
def _beat_after_task(task: Any = None, **kwargs: Any) -> None:
    if task is not None and task.request.hostname:  # else it was called, not sent
        beat(str(task.request.hostname))
