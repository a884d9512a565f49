"""Retention: events that are old enough leave the trail; what was removed stays in the chain as a signed note.

It works in small batches, each in a transaction of its own and followed by a pause, so that writers hardly notice.
What publishing still has to do with stays, while its neighbours go. Nothing is removed that is not as it was sealed:
evidence does not expire.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from audit import chain, keys, removals, trail_rows
from audit.models import AuditEvent, RemovedEvents, State, TrailHead
from audit.statements import KeyRing, Verdict
from audit.trail_rows import TABLE, TrailRow
from common.transactions import write_transaction

logger = logging.getLogger(__name__)

BATCH = 100  # events; on SQLite nobody else writes meanwhile
PAUSE = 0.05  # seconds after a batch, for others
KEPT_STATES = (State.PENDING, State.FAILED)

_DELETE = f"DELETE FROM {TABLE} WHERE id IN ({{}})"  # noqa: S608  (a name of our own)

Cursor = tuple[datetime, int]


class TamperedError(Exception):
    """An event that should leave is not as it was sealed; nothing from there on was removed."""


def cutoff(days: float) -> datetime:
    """Events older than this are older than so many days."""
    return timezone.now() - timedelta(days=days)


def expired(before: datetime) -> int:
    """How many events would leave."""
    return _leaving(before).count()


def remove_expired(before: datetime, seconds: float | None = None) -> Iterator[int]:
    """Remove events older than this, for about so long (default: all); yields how many after each batch.

    Raises TamperedError, and keys.KeyFileError.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    key = keys.signing_key()
    cursor: Cursor | None = None
    while True:
        positions, cursor = _next_positions(before, cursor)
        if cursor is None:
            return
        for first, last in _stretches(positions):
            _remove(first, last, key)
        yield len(positions)
        if deadline is not None and time.monotonic() > deadline:
            return
        time.sleep(PAUSE)


def _leaving(before: datetime) -> "QuerySet[AuditEvent]":
    return AuditEvent.objects.filter(occurred_at__lt=before, position__isnull=False).exclude(state__in=KEPT_STATES)


def _next_positions(before: datetime, cursor: Cursor | None) -> tuple[list[int], Cursor | None]:
    """The next batch by age, and where it ended: what stays must not be looked at again and again."""
    leaving = _leaving(before)
    if cursor is not None:
        leaving = leaving.filter(occurred_at__gte=cursor[0]).exclude(occurred_at=cursor[0], pk__lte=cursor[1])
    rows = list(leaving.order_by("occurred_at", "id").values_list("position", "occurred_at", "id")[:BATCH])
    return sorted(row[0] for row in rows if row[0] is not None), (rows[-1][1], rows[-1][2]) if rows else None


def _stretches(positions: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Sorted positions as stretches without a gap, each as first and last."""
    first = previous = None
    for position in positions:
        if previous is None or position != previous + 1:
            if first is not None and previous is not None:
                yield first, previous
            first = position
        previous = position
    if first is not None and previous is not None:
        yield first, previous


def _remove(first: int, last: int, key: Ed25519PrivateKey | None) -> None:
    """Remove a stretch of events, and note it, in one transaction."""
    rows = trail_rows.read("position BETWEEN %s AND %s ORDER BY position", [first, last])
    previous = _link_before(first)
    if [row.position for row in rows] != list(range(first, last + 1)) or previous is None:
        return  # somebody else removed them
    _require_untampered(previous, rows)
    removed = RemovedEvents(
        first_position=first,
        last_position=last,
        previous_link=previous,
        link=rows[-1].link,
        removed_at=timezone.now(),
    )
    with write_transaction():
        head = TrailHead.locked()  # one at a time
        if not _delete([row.pk for row in rows]):
            return
        _merge_neighbours(head, removed, key)
        if key is not None:
            statement = removals.statement_of(head.trail_id, removed).signed_with(key)
            removed.key_id, removed.signature = statement.key_id, statement.signature
        removed.save()


def _link_before(position: int) -> bytes | None:
    """The link that leads to a position; None when the event there was removed just now."""
    if position == 1:
        return chain.GENESIS
    rows = trail_rows.read("position = %s", [position - 1])
    if rows and rows[0].link is not None:
        return rows[0].link
    removed = removals.covering(position - 1)
    if removed is None:
        raise TamperedError(f"There is no event at position {position - 1}, and retention did not remove it.")
    return bytes(removed.link) if removed.last_position == position - 1 else None


def _require_untampered(link: bytes, rows: Sequence[TrailRow]) -> None:
    for row in rows:
        link = chain.link_of(link, row.position or 0, row.values)
        if row.link != link:
            raise TamperedError(f"The event at position {row.position} is not as it was sealed: {row.event_id}.")


def _delete(pks: Sequence[int]) -> bool:
    """Delete these rows, unless one is gone or is to be published (again) since they were looked up."""
    found = AuditEvent.objects.filter(pk__in=pks).select_for_update().order_by("id")
    states = list(found.values_list("state", flat=True))
    if len(states) != len(pks) or set(states) & set(KEPT_STATES):
        return False
    with connection.cursor() as cursor:
        cursor.execute(_DELETE.format(", ".join(["%s"] * len(pks))), pks)
    return True


def _merge_neighbours(head: TrailHead, removed: RemovedEvents, key: Ed25519PrivateKey | None) -> None:
    """Let a stretch take in those that it touches, unless somebody else may have written them."""
    ring = KeyRing([key.public_key()] if key else [])
    wanted = Verdict.VALID if key else Verdict.UNSIGNED
    before = RemovedEvents.objects.filter(last_position=removed.first_position - 1).first()
    after = RemovedEvents.objects.filter(first_position=removed.last_position + 1).first()
    for other in filter(None, (before, after)):
        fits = other is before or bytes(other.previous_link) == bytes(removed.link or b"")
        if not fits or ring.judge(removals.statement_of(head.trail_id, other)) is not wanted:
            logger.warning("The note that retention removed %s is not signed with this key; it stays apart", other)
            continue
        if other is before:
            removed.first_position, removed.previous_link = other.first_position, other.previous_link
        else:
            removed.last_position, removed.link = other.last_position, other.link
        other.delete()
