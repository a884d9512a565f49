"""Trails for tests, and what somebody who can write to the database may do to them."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from audit import chain, checkpointing, retention, sealing, trail_rows
from audit.models import AuditEvent, RemovedEvents, State, TrailHead
from tests.factories import make_event


def seal_all() -> None:
    while sealing.seal_batch():
        pass


def checkpoint_now() -> AuditEvent:
    """A checkpoint, whatever the time."""
    head = TrailHead.objects.get()
    head.checkpointed_at = None if head.checkpointed_at is None else head.checkpointed_at - timedelta(hours=1)
    head.save()
    event = checkpointing.checkpoint_if_due()
    assert event is not None
    return event


def make_trail(*lots: int, state: State = State.PUBLISHED, **values: Any) -> None:
    """Lots of so many sealed events, a checkpoint behind each."""
    for lot in lots:
        events = [make_event(size_bytes=number, **values) for number in range(lot)]
        AuditEvent.insert([AuditEvent.column_values(event, state) for event in events])
        seal_all()
        checkpoint_now()


def remove(days: float = 5) -> int:
    """Let retention remove what is older, and say how many."""
    return sum(retention.remove_expired(retention.cutoff(days)))


def days_later(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """Let it be so many days later, by this machine's clock and by the database's."""
    later = datetime.now(UTC) + timedelta(days=days)
    monkeypatch.setattr(timezone, "now", lambda: later)
    monkeypatch.setattr(retention, "_now", lambda: later)


def sql(statement: str, *parameters: Any) -> None:
    """What no code of ours would do."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


_IDS = "pg_get_serial_sequence('audit_auditevent', 'id')"


def give_taken_ids() -> None:
    """Have PostgreSQL's next events get ids that the trail has, as where its sequence was left behind."""
    sql(f"SELECT setval({_IDS}, (SELECT min(id) FROM audit_auditevent), false)")  # noqa: S608  (a constant)


def give_free_ids() -> None:
    sql(f"SELECT setval({_IDS}, (SELECT max(id) FROM audit_auditevent))")  # noqa: S608  (the same)


def rows() -> list[trail_rows.TrailRow]:
    return trail_rows.read("position IS NOT NULL ORDER BY position", [])


def set_head_back(position: int, number: int = 1) -> None:
    """Let the head say that the trail ends at a position, and has so many checkpoints, the last of them at 3."""
    link = AuditEvent.objects.get(position=position).link
    TrailHead.objects.update(position=position, link=link, checkpoint_number=number, checkpoint_position=3)


def cut(position: int) -> None:
    """Remove the end from a position on, and all in the database that tells of it."""
    sql("DELETE FROM audit_auditevent WHERE position >= %s", position)
    set_head_back(position - 1)


def shift(first: int, by: int) -> None:
    """Move all positions from one on, in an order in which no two are the same meanwhile."""
    for row in sorted(rows(), key=lambda row: row.position or 0, reverse=by > 0):
        if row.position is not None and row.position >= first:
            sql("UPDATE audit_auditevent SET position = %s WHERE id = %s", row.position + by, row.pk)


def rewrite_links(position: int) -> None:
    """Compute all links from a position on anew, the head's included: what only a signature can tell."""
    removed = RemovedEvents.objects.order_by("last_position").filter(last_position__lt=position).last()
    link = bytes(removed.link) if removed else chain.GENESIS
    end = 0
    for row in rows():
        assert row.position is not None
        if row.position >= position:
            link = chain.link_of(link, row.position, row.values)
            sql("UPDATE audit_auditevent SET link = %s WHERE id = %s", link, row.pk)
        else:
            link = row.link or link
        end = row.position
    sql("UPDATE audit_trailhead SET position = %s, link = %s", end, link)


def old_ns(days: float) -> int:
    """A time so many days ago, as events have it."""
    return chain.microseconds_of(timezone.now() - timedelta(days=days)) * 1000


def verify(*arguments: object) -> tuple[int, str]:
    """Exit status and output of `verify_trail`."""
    out = io.StringIO()
    with pytest.raises(SystemExit) as exit_:
        call_command("verify_trail", *map(str, arguments), stdout=out)
    assert isinstance(exit_.value.code, int)
    return exit_.value.code, out.getvalue()
