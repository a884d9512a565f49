"""Retention: events that are old enough leave the trail; what was removed stays in the chain as a signed note.

It works in small batches, each in a transaction of its own and followed by a pause, so that writers hardly notice.
What publishing still has to do with stays, while its neighbours go. Nothing is removed that is not as it was signed
(audit/vouching.py): evidence does not expire.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from audit import keys, note_signing, removals
from audit.chain_reading import MissingKeyError
from audit.checkpoints import statement_in
from audit.models import AuditEvent, RemovedEvents, State, TrailHead
from audit.statements import KeyRing
from audit.trail_rows import TABLE
from audit.vouching import Vouching
from common.transactions import write_transaction

BATCH = 100  # events; on SQLite nobody else writes meanwhile
PAUSE = 0.05  # seconds after a batch, for others
SETTLING = timedelta(days=1)  # in which somebody may notice that a clock has jumped ahead
KEPT_STATES = (State.PENDING, State.FAILED)

_DELETE = f"DELETE FROM {TABLE} WHERE id IN ({{}})"  # noqa: S608  (a name of our own)

Cursor = tuple[datetime, int]


def cutoff(days: float) -> datetime:
    """Events older than this are older than so many days, by this machine's clock and by the database's."""
    return _now() - timedelta(days=days)


def _now() -> datetime:
    """The earlier of this machine's time and the database's: one clock that is ahead must not let events go."""
    now = timezone.now()
    if connection.vendor == "postgresql":  # SQLite's is this machine's
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            now = min(now, *cursor.fetchone())
    return now


def has_settled(before: datetime) -> bool:
    """Whether an event from since then is a day old already, or half as old as what leaves, if that is less.

    There is none just after all clocks jumped ahead, or after so long a pause: all that was there would leave at once.
    """
    now = _now()
    settled = now - min(SETTLING, (now - before) / 2)
    return AuditEvent.objects.filter(occurred_at__gte=before, occurred_at__lte=settled).exists()


def expired(before: datetime) -> int:
    """How many events would leave; reads them all."""
    return _leaving(before).count()


def lag(days: float) -> float:
    """Seconds for which the oldest event that was to leave after so many days has stayed; 0 when there is none.

    No days are for ever.
    """
    if not days:
        return 0.0
    before = cutoff(days)
    oldest = _leaving(before).order_by("occurred_at", "id").values_list("occurred_at", flat=True).first()
    return 0.0 if oldest is None else (before - oldest).total_seconds()


@dataclass(frozen=True, slots=True)
class _Run:
    before: datetime
    key: Ed25519PrivateKey | None
    ring: KeyRing
    vouching: Vouching

    @classmethod
    def of(cls, before: datetime, head: TrailHead, *, accepts_unsigned: bool = False) -> Self:
        key = keys.signing_key()
        ring = keys.known_keys(key)
        if key is None and (ring or _is_signed(head)):
            raise MissingKeyError(
                "The trail is signed, and CAS_CHECKPOINT_KEY is not set here: what is removed could not be signed for. "
                "Set it for whoever removes events, too."
            )
        return cls(before, key, ring, Vouching(ring, head.trail_id, accepts_unsigned=accepts_unsigned))


def _is_signed(head: TrailHead) -> bool:
    last = AuditEvent.objects.filter(position=head.checkpoint_position).values_list("payload", flat=True).first()
    statement = statement_in(last)
    return bool(statement and statement.signature) or RemovedEvents.objects.exclude(signature="").exists()


def sign_notes(before: datetime) -> Iterator[str]:
    """Sign notes of when there was no key, as far as can be; yields what became of each.

    Raises RefusedError, and keys.KeyFileError.
    """
    head = TrailHead.objects.filter(pk=1).first()
    run = _Run.of(before, head, accepts_unsigned=True) if head else None
    if run and run.key:
        yield from note_signing.sign_notes(run.vouching, run.key, before)


def remove_expired(before: datetime, seconds: float | None = None, *, accepts_unsigned: bool = False) -> Iterator[int]:
    """Remove events older than this, for about so long (default: all); yields how many after each batch.

    What no signature vouches for yet stays; with `accepts_unsigned` checkpoints between signed ones need not be signed
    themselves. The time does not count what it takes to read ahead to the next signature.
    Raises RefusedError, and keys.KeyFileError.
    """
    head = TrailHead.objects.filter(pk=1).first()
    if head is None:
        return
    run = _Run.of(before, head, accepts_unsigned=accepts_unsigned)
    began = time.monotonic()
    cursor: Cursor | None = None
    while True:
        positions, cursor = _next_positions(before, cursor)
        if cursor is None:
            return
        yield sum(_remove(first, last, cursor[0], run) for first, last in _stretches(positions))
        if seconds is not None and time.monotonic() - began - run.vouching.seconds > seconds:
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
    end = (rows[-1][1], rows[-1][2]) if rows else None
    if end == cursor:
        return [], None  # nothing else, but a time that somebody wrote to SQLite in another form
    return sorted(row[0] for row in rows if row[0] is not None), end


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


def _remove(first: int, last: int, newest: datetime, run: _Run) -> int:
    """Remove a stretch of events, none after `newest`, and note it, in one transaction; return how many it were."""
    stretch = run.vouching.stretch(first, last)
    if stretch is None:
        return 0
    removed = RemovedEvents(
        first_position=first,
        last_position=stretch.last,
        previous_link=stretch.previous_link,
        link=stretch.rows[-1].link,
        removed_at=timezone.now(),
        expired_before=run.before,
        checkpoint_number=stretch.checkpoint_number,
    )
    with write_transaction():
        head = TrailHead.locked()  # one at a time
        if not _delete([row.pk for row in stretch.rows]):
            return 0
        removals.merge_neighbours(head.trail_id, removed, run.ring)
        if run.key is not None:
            removals.sign(head.trail_id, removed, run.key)
        removed.save()
        # Not run.before: of a clock that was ahead, it would keep out what others publish until then.
        removed_before = newest + timedelta.resolution
        if head.removed_before is None or head.removed_before < removed_before:
            head.removed_before = removed_before
            head.save(update_fields=["removed_before"])
    return len(stretch.rows)


def _delete(pks: Sequence[int]) -> bool:
    """Delete these rows, unless one is gone or is to be published (again) since they were looked up."""
    found = AuditEvent.objects.filter(pk__in=pks).select_for_update().order_by("id")
    states = list(found.values_list("state", flat=True))
    if len(states) != len(pks) or set(states) & set(KEPT_STATES):
        return False
    with connection.cursor() as cursor:
        cursor.execute(_DELETE.format(", ".join(["%s"] * len(pks))), pks)
    return True
