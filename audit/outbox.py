"""The outbox: rows are claimed, published, marked. The row is the work; a Celery message only says when to look.

A claim is a lease: it moves `due_at` into the future, so that a worker which dies gives its rows back by
waiting. An event is therefore published at least once; `Nats-Msg-Id` makes that once in the duplicate window.
"""

import random
from collections.abc import Sequence
from datetime import timedelta

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from audit import publisher
from audit.models import AuditEvent, State
from audit.publisher import Ack, Message, Outcome, Rejected

BATCH = 256
LEASE = timedelta(seconds=30)  # longer than publisher.longest_batch() and the marking
MAX_BACKOFF = 300.0  # seconds


def publish_pending(batches: int = 100) -> bool:
    """Publish what is due, at most this many batches; return whether there may be more.

    Raises publisher.Unreachable, with nothing claimed, when there is no connection to be had.
    """
    publisher.connect()
    for _ in range(batches):
        events = claim(BATCH)
        if not events:
            return False
        try:
            outcomes = publisher.publish([Message(e.subject, e.payload, str(e.event_id)) for e in events])
        except publisher.Unreachable:
            release(events)
            raise
        mark(events, outcomes)
        if not any(isinstance(outcome, Ack) for outcome in outcomes):
            return False  # NATS does not answer, or the stream takes nothing: the sweep will try again
    return True


def claim(limit: int) -> list[AuditEvent]:
    """Take up to `limit` events that are due, oldest first; no one else gets them while the lease lasts."""
    now = timezone.now()
    with transaction.atomic():
        due = AuditEvent.objects.filter(state=State.PENDING, due_at__lte=now).order_by("id")
        if connection.features.has_select_for_update_skip_locked:
            due = due.select_for_update(skip_locked=True)
        events = list(due[:limit])
        AuditEvent.objects.filter(pk__in=[e.pk for e in events]).update(due_at=now + LEASE)
    return events


def release(events: Sequence[AuditEvent]) -> None:
    """Give a claim back; what of it did arrive will be a duplicate."""
    AuditEvent.objects.filter(pk__in=[e.pk for e in events], state=State.PENDING).update(due_at=timezone.now())


def mark(events: Sequence[AuditEvent], outcomes: Sequence[Outcome]) -> None:
    """Write down what became of each event of a claim."""
    acked = {e.pk: o for e, o in zip(events, outcomes, strict=True) if isinstance(o, Ack)}
    with transaction.atomic():
        if acked:
            _mark_published(acked)
        for event, outcome in zip(events, outcomes, strict=True):
            if isinstance(outcome, Rejected):
                _mark_rejected(event, outcome)


def _mark_published(acks: dict[int, Ack]) -> None:
    # Not by the ORM: a value of its own for each row makes it build one huge CASE, four times as slow.
    update = f"""
        UPDATE {AuditEvent._meta.db_table}
        SET state = %s, published_at = %s, attempts = attempts + 1, last_error = %s, stream_sequence = %s
        WHERE id = %s
    """  # noqa: S608  (only the table's own name is put in)
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    with connection.cursor() as cursor:
        cursor.executemany(update, [(State.PUBLISHED, now, "", ack.sequence, pk) for pk, ack in acks.items()])


def _mark_rejected(event: AuditEvent, rejected: Rejected) -> None:
    # Not over an ack: another worker may have published it after this one's lease ran out.
    AuditEvent.objects.filter(pk=event.pk, state=State.PENDING).update(
        state=State.FAILED if rejected.is_permanent else State.PENDING,
        due_at=timezone.now() + timedelta(seconds=backoff(event.attempts)),
        attempts=F("attempts") + 1,
        last_error=rejected.reason,
    )


def backoff(attempts: int) -> float:
    """Seconds to wait after this many earlier attempts: exponential, half of it random."""
    ceiling = min(MAX_BACKOFF, 2.0 ** min(attempts, 20))
    return ceiling / 2 + random.uniform(0, ceiling / 2)  # noqa: S311  (spreads load, keeps no secret)
