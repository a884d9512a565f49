"""The broker, how many messages wait in it, and the workers that should take them."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from amqp.exceptions import NotFound
from django.conf import settings
from django.utils import timezone
from kombu.exceptions import ChannelError

from audit.delivery import delivery_now
from audit.models import WorkerBeat
from casproject.celery import app
from casproject.doctor import configuration
from casproject.doctor.findings import Finding, fail, ok, warn

BROKER, WORKER, EVENTS = "broker", "worker", "events"
BROKER_REMEDY = "Is CELERY_BROKER_URL right, and the broker up and reachable from here? Events wait until it is."
WORKER_REMEDY = "Start `worker`, `maintenance` and `beat` of the Procfile, and look into their logs."
SEALING_REMEDY = "Workers are at it: look again in a minute. If the number does not fall, look into their logs."
QUEUES = ("celery", "maintenance")
MANY = 500  # messages: wake-ups, of which a worker takes hundreds in a second
SILENCE = timedelta(minutes=5)
LATE = 300.0  # seconds


def examine_broker() -> Iterator[Finding]:
    """Raises what the broker's client raises."""
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, timeout=3)
        yield ok(BROKER, f"connected to {configuration.masked(settings.CELERY_BROKER_URL)}")
        for queue in QUEUES:
            yield _waiting(queue, _length(connection.channel(), queue))


def _length(channel: Any, queue: str) -> int:
    try:
        return int(channel.queue_declare(queue, passive=True).message_count)
    except (ChannelError, NotFound):  # no worker has made it yet
        return 0


def _waiting(queue: str, count: int) -> Finding:
    text = f"{count} messages wait in queue {queue}"
    return warn(BROKER, text, WORKER_REMEDY) if count > MANY else ok(BROKER, text)


def examine_workers() -> Iterator[Finding]:
    """What workers write down of themselves: the embedded broker has no way to ask them. Raises django.db.Error."""
    beats = list(WorkerBeat.objects.order_by("-seen_at"))
    since = timezone.now() - SILENCE
    for beat in beats:
        ago = (timezone.now() - beat.seen_at).total_seconds()
        if beat.seen_at >= since:
            yield ok(WORKER, f"{beat.name} was at work {ago:.0f} seconds ago")
    if not beats:
        yield warn(WORKER, "none has ever written down that it is there", WORKER_REMEDY)
    elif beats[0].seen_at < since:
        last = f"{beats[0].name} at {beats[0].seen_at:%Y-%m-%d %H:%M:%S} UTC"
        yield fail(WORKER, f"none in the last {SILENCE.seconds // 60} minutes; the last was {last}", WORKER_REMEDY)


def examine_events() -> Iterator[Finding]:
    """Whether events get to where they should. Raises django.db.Error."""
    now = delivery_now()
    if settings.NATS_URL:
        oldest = now.oldest_pending_seconds or 0.0
        text = f"{now.pending} wait to be published, the oldest for {oldest:.0f} seconds"
        yield warn(EVENTS, text, "Look at NATS and the worker above.") if oldest > LATE else ok(EVENTS, text)
        if now.failed:
            remedy = "The list of events says why; `manage.py publish_events --retry-failed` once that is put right."
            yield warn(EVENTS, f"{now.failed} were refused for good", remedy)
    if now.unsealed > MANY:
        workers = WorkerBeat.objects.exclude(name__startswith="maintenance@")  # which seals nothing
        is_worked_at = workers.filter(seen_at__gte=timezone.now() - SILENCE).exists()
        remedy = SEALING_REMEDY if is_worked_at else WORKER_REMEDY
        yield warn(EVENTS, f"{now.unsealed} wait to be sealed and counted", remedy)
