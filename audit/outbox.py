"""The outbox: rows are claimed, published, marked. The row is the work; a Celery message only says when to look.

PostgreSQL keeps a claim's rows locked, in one transaction with their marks, and frees them when a worker dies. SQLite
locks no rows: there a claim is a lease, which moves `due_at` into the future. Either way an event is published at
least once; `Nats-Msg-Id` makes that once in the duplicate window.
"""

import random
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from audit import metrics, publisher
from audit.answers import Ack, Outcome, Rejected
from audit.models import AuditEvent, LastPublished, State
from audit.publisher import Message
from common import tracing
from common.transactions import write_transaction

BATCH = 512
SECONDS = 2.0  # that one run may take: the same worker seals, and is alive when its runs end
REST = 2.0  # seconds after a batch of which a stream took nothing
TRACED = 100  # events of a batch that are named in its trace
LEASE = timedelta(seconds=30)  # where there are no row locks; longer than publisher.longest_batch() and the marking
MAX_BACKOFF = 300.0  # seconds
# No claim and no backing off lasts that long: whoever wrote such a time had a clock that was ahead.
UNBELIEVABLE = timedelta(seconds=2 * MAX_BACKOFF)

_TABLE = AuditEvent._meta.db_table

# The state is written out, for SQLite uses a partial index only when it sees that the condition implies the index's.
_DUE = f"""
    SELECT id, event_id, subject, payload, attempts FROM {_TABLE}
    WHERE state = 'pending' AND (due_at <= %s OR due_at > %s) {{further}} ORDER BY id LIMIT %s {{lock}}
"""  # noqa: S608  (only the table's own name is put in)

# Without statistics, or with those of a quiet hour, PostgreSQL would read all that is pending, and all index entries
# of what was, and sort it. Along the index it stops at the limit, and what is dead is marked and skipped.
_FOLLOW_INDEX = "SET LOCAL enable_sort TO off; SET LOCAL enable_bitmapscan TO off"

_MARK_PUBLISHED = f"""
    UPDATE {_TABLE}
    SET state = %s, published_at = %s, attempts = attempts + 1, last_error = '', stream_sequence = acks.column2
    FROM (VALUES {{acks}}) AS acks WHERE {_TABLE}.id = acks.column1
"""  # noqa: S608  (the same, and placeholders)

# So that nobody has to look for the last one in a trail that has no index of sequences.
_NOTE_LAST = f"""
    INSERT INTO {LastPublished._meta.db_table} (id, sequence, published_at) VALUES (1, %s, %s)
    ON CONFLICT (id) DO UPDATE SET sequence = excluded.sequence, published_at = excluded.published_at
"""  # noqa: S608  (the same)


@dataclass(frozen=True, slots=True)
class Claimed:
    """An event that is this worker's to publish while its claim lasts."""

    pk: int
    attempts: int
    message: Message


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that were published together, and what became of each."""

    events: list[Claimed]
    outcomes: list[Outcome]

    @property
    def settles_any(self) -> bool:
        """Whether an event is done with."""
        return any(isinstance(outcome, Ack) or outcome.is_permanent for outcome in self.outcomes)

    @property
    def has_new(self) -> bool:
        """Whether one of the events had not been tried before."""
        return any(event.attempts == 0 for event in self.events)


def publish_pending(seconds: float = SECONDS) -> bool:
    """Publish what is due, for about this long; return whether there may be more.

    Raises publisher.Unreachable, with nothing claimed, when there is no connection to be had.
    """
    connect()
    deadline = time.monotonic() + seconds
    may_have_more = False
    for batch in publish_batches():
        is_full = len(batch.events) == BATCH
        if not batch.settles_any:
            # Refused again, these are not due for a while; what stands behind them may be.
            may_have_more = is_full and not batch.has_new
        # That was all, and what came meanwhile has a nudge of its own: looking again at once would find a few events
        # each time, and on SQLite cost two commits for them, which uploads wait for.
        if not is_full:
            break
        if batch.settles_any and time.monotonic() > deadline:
            return True
    return may_have_more


def connect() -> None:
    """Make sure that this process has a connection to NATS, and count when there is none to be had.

    Raises publisher.Unreachable.
    """
    try:
        publisher.connect()
    except publisher.Unreachable:
        metrics.UNREACHABLE.add(1)
        raise


class _Refusal:
    """When a stream last took nothing of a full batch, or of one with new events; None when it has since."""

    at: float | None = None  # by the monotonic clock


def rest() -> None:
    """Wait until a stream that takes nothing has been left alone for REST.

    New events would be claimed and refused like those before; each attempt costs, and on SQLite uploads wait for it.
    """
    if _Refusal.at is not None:
        time.sleep(max(0.0, _Refusal.at + REST - time.monotonic()))


def publish_batches(due_by: datetime | None = None, organization: UUID | None = None) -> Iterator[Batch]:
    """Publish batch after batch of what is due by then (default: now), until nothing is, or nothing is taken.

    Events that are refused whenever they are due come before those that are new; what becomes of a batch of them says
    nothing of these, which are then published by themselves. Raises publisher.Unreachable, with nothing claimed.
    """
    is_new = False
    while (batch := _publish_batch(due_by, organization, is_new=is_new)).events:
        yield batch
        if not batch.settles_any:
            if batch.has_new:
                return  # NATS does not answer, or the stream takes nothing: the next batch would meet it too
            is_new = True


def _publish_batch(due_by: datetime | None, organization: UUID | None, *, is_new: bool) -> Batch:
    with transaction.atomic() if _has_row_locks() else nullcontext():
        events = claim(BATCH, due_by, organization, is_new=is_new)
        if not events:
            return Batch([], [])
        with tracing.span("publish", lambda: _attributes(events)) as note:
            started = time.perf_counter()
            try:
                outcomes = publisher.publish([event.message for event in events])
            except publisher.Unreachable:
                metrics.UNREACHABLE.add(1)
                release(events)
                raise
            metrics.count_batch(outcomes, time.perf_counter() - started)
            note("cas.events.acked", sum(isinstance(outcome, Ack) for outcome in outcomes))
            mark(events, outcomes)
    batch = Batch(events, outcomes)
    if batch.settles_any:
        _Refusal.at = None
    elif batch.has_new or len(events) == BATCH:
        _Refusal.at = time.monotonic()
    return batch


def _attributes(events: Sequence[Claimed]) -> dict[str, Any]:
    """What a trace says of a batch."""
    return {
        "messaging.system": "nats",
        "messaging.operation.type": "send",
        "messaging.batch.message_count": len(events),
        "cas.event_ids": [event.message.message_id for event in events[:TRACED]],
    }


def _has_row_locks() -> bool:
    return connection.features.has_select_for_update_skip_locked


def claim(
    limit: int, due_by: datetime | None = None, organization: UUID | None = None, *, is_new: bool = False
) -> list[Claimed]:
    """Take up to `limit` events that are due by then (default: now), oldest first.

    All, or one organization's; with `is_new`, only those that have not been tried.

    No one else gets them: with row locks until the caller's transaction ends, else while the lease lasts.
    """
    with write_transaction(), connection.cursor() as cursor:
        if _has_row_locks():
            cursor.execute(_FOLLOW_INDEX)
        cursor.execute(*_due(limit, due_by or timezone.now(), organization, is_new=is_new))
        events = [
            Claimed(pk, attempts, Message(subject, payload, _message_id(event_id)))
            for pk, event_id, subject, payload, attempts in cursor
        ]
        if not _has_row_locks():
            _set_due(events, timezone.now() + LEASE)
    return events


def _due(
    limit: int, due_by: datetime, organization: UUID | None = None, *, is_new: bool = False
) -> tuple[str, list[Any]]:
    """The query for events that are due, and its parameters."""
    lock = "FOR UPDATE SKIP LOCKED" if _has_row_locks() else ""
    times = [connection.ops.adapt_datetimefield_value(time) for time in (due_by, timezone.now() + UNBELIEVABLE)]
    further = "AND attempts = 0" if is_new else ""
    if organization is None:
        return _DUE.format(further=further, lock=lock), [*times, limit]
    own = AuditEvent._meta.get_field("org_id").get_db_prep_value(organization, connection)
    return _DUE.format(further=f"{further} AND org_id = %s", lock=lock), [*times, own, limit]


def _message_id(stored: UUID | str) -> str:
    """As a UUID is written; SQLite keeps bare hex digits. The publisher refuses what is none."""
    if isinstance(stored, UUID):
        return str(stored)
    try:
        return str(UUID(stored))
    except ValueError:
        return stored


def release(events: Sequence[Claimed]) -> None:
    """Give a claim back; what of it did arrive will be a duplicate."""
    _set_due(events, timezone.now())


def _set_due(events: Sequence[Claimed], time: datetime) -> None:
    AuditEvent.objects.filter(pk__in=[event.pk for event in events], state=State.PENDING).update(due_at=time)


def mark(events: Sequence[Claimed], outcomes: Sequence[Outcome]) -> None:
    """Write down what became of each event of a claim."""
    acked = [(e.pk, o.sequence) for e, o in zip(events, outcomes, strict=True) if isinstance(o, Ack)]
    # Together, for a stream that is full refuses all of a batch, and on SQLite uploads wait meanwhile.
    rejected: dict[tuple[Rejected, int], list[int]] = defaultdict(list)
    for event, outcome in zip(events, outcomes, strict=True):
        if isinstance(outcome, Rejected):
            rejected[outcome, event.attempts].append(event.pk)
    with write_transaction():
        if acked:
            _mark_published(acked)
        for (outcome, attempts), keys in rejected.items():
            _mark_rejected(keys, outcome, attempts)


def _mark_published(acked: Sequence[tuple[int, int]]) -> None:
    statement = _MARK_PUBLISHED.format(acks=", ".join(["(%s, %s)"] * len(acked)))
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    with connection.cursor() as cursor:
        cursor.execute(statement, [State.PUBLISHED, now, *(value for ack in acked for value in ack)])
        cursor.execute(_NOTE_LAST, [max(sequence for _, sequence in acked), now])


def _mark_rejected(keys: Sequence[int], rejected: Rejected, attempts: int) -> None:
    # Not over an ack: another worker may have published it after this one's lease ran out.
    AuditEvent.objects.filter(pk__in=keys, state=State.PENDING).update(
        state=State.FAILED if rejected.is_permanent else State.PENDING,
        due_at=timezone.now() + timedelta(seconds=backoff(attempts)),
        attempts=F("attempts") + 1,
        last_error=rejected.reason,
    )


def backoff(attempts: int) -> float:
    """Seconds to wait after this many earlier attempts: exponential, half of it random."""
    ceiling = min(MAX_BACKOFF, 2.0 ** min(attempts, 20))
    return ceiling / 2 + random.uniform(0, ceiling / 2)  # noqa: S311  (spreads load, keeps no secret)
