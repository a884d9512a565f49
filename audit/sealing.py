"""Sealing: gives committed events their places in the chain, and counts them into the totals.

The idea is Trillian's: whoever has an entry only writes it down, and one sequencer integrates what is there, in
batches. So no request waits for a chain, and an event that is committed late, out of the order of its id, is sealed
late. Everything a batch changes is one transaction: killed at any moment, it happened or did not.
"""

import time
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.utils import timezone

from audit import chain, totals, trail_rows
from audit.models import AuditEvent, TrailHead
from audit.trail_rows import TABLE, TrailRow
from common.transactions import write_transaction

BATCH = 100  # events; on SQLite nobody else writes meanwhile
SECONDS, MOST = 0.5, 10.0  # that one run may take, at least and at most: the same worker publishes

_UPDATE_EACH = f"UPDATE {TABLE} SET position = %s, link = %s WHERE id = %s"  # noqa: S608  (a name of our own)
_UPDATE_ALL = f"""
    UPDATE {TABLE} SET position = sealed.position, link = sealed.link
    FROM unnest(%s::bigint[], %s::bytea[], %s::bigint[]) AS sealed (position, link, id) WHERE {TABLE}.id = sealed.id
"""  # noqa: S608


def seal(seconds: float = SECONDS, batch: int = BATCH) -> int:
    """Seal what waits, for about this long; return how many events."""
    deadline = time.monotonic() + seconds
    sealed = 0
    while count := seal_batch(batch):
        sealed += count
        if count < batch or time.monotonic() > deadline:
            break
    return sealed


class _Turn:
    """When this worker last sealed, or else when it started, by the monotonic clock."""

    ended = time.monotonic()


def take_turn() -> int:
    """Seal for as long as this worker has done other things since the last time; return how many events.

    So what is to be sealed and what is to be published get a half each of a worker that has too much of both.
    """
    others = time.monotonic() - _Turn.ended
    try:
        return seal(min(max(SECONDS, others), MOST))
    finally:
        _Turn.ended = time.monotonic()


def is_late() -> bool:
    """Whether events wait, and nobody has sealed any for two periods.

    While there is much to publish, messages to seal wait in the queue behind those to publish, and expire.
    """
    late = 2 * settings.CAS_SEAL_SECONDS
    if time.monotonic() < _Turn.ended + late:
        return False
    head = TrailHead.objects.filter(pk=1).first()
    # In either direction, for the clock may have been set.
    is_sealing = head and head.sealed_at and abs(timezone.now() - head.sealed_at) < timedelta(seconds=late)
    return not is_sealing and _is_any_unsealed()


def _is_any_unsealed() -> bool:
    return AuditEvent.objects.filter(position=None).exists()


def seal_batch(limit: int = BATCH) -> int:
    """Seal up to `limit` events, oldest first, and return how many; waits while someone else seals."""
    if not _is_any_unsealed():
        return 0  # without a lock, for this is asked every few seconds
    prepared = None
    if connection.vendor == "sqlite":
        # Only to write is the lock needed, which keeps all others from writing.
        prepared = _prepare(TrailHead.objects.filter(pk=1).first() or TrailHead(), limit)
    with write_transaction():
        head = TrailHead.locked()
        if prepared is None or prepared.starts_at != head.position:
            prepared = _prepare(head, limit)
        prepared.write(head)
    return len(prepared.links)


@dataclass(frozen=True, slots=True)
class _Batch:
    """What is to be written: `links` are position, link and row id of each event, behind the position `starts_at`."""

    starts_at: int
    links: list[tuple[int, bytes, int]]
    sums: dict[totals.Key, totals.Added]

    def write(self, head: TrailHead) -> None:
        if not self.links:
            return
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute(_UPDATE_ALL, [list(column) for column in zip(*self.links, strict=True)])
            else:
                cursor.executemany(_UPDATE_EACH, self.links)
        totals.add(self.sums)
        head.position, head.link, _ = self.links[-1]
        head.sealed_at = timezone.now()
        head.save()


def _prepare(head: TrailHead, limit: int) -> _Batch:
    rows = _unsealed(limit)
    links = []
    position, link = head.position, bytes(head.link)
    for row in rows:
        position += 1
        link = chain.link_of(link, position, row.values)
        links.append((position, link, row.pk))
    return _Batch(head.position, links, totals.sums_of(rows))


def _unsealed(limit: int) -> list[TrailRow]:
    condition = "position IS NULL ORDER BY id LIMIT %s"
    if connection.features.has_select_for_update_skip_locked:
        # What publishing works on right now comes with the next batch: who waits for no row is in no deadlock.
        condition += " FOR NO KEY UPDATE SKIP LOCKED"
    return trail_rows.read(condition, [limit])
