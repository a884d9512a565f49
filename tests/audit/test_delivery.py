"""How far publishing is, at the same cost however long the trail is."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from audit import delivery, outbox, sealing
from audit.answers import Ack, Rejected
from audit.delivery import delivery_now
from audit.models import AuditEvent, State
from tests.factories import make_row
from tests.plans import forget_counts, plans_of

pytestmark = pytest.mark.django_db


def publish_all(first_sequence: int) -> None:
    """Mark what is due as published, from this sequence on."""
    events = outbox.claim(10)
    outbox.mark(events, [Ack(first_sequence + number, is_duplicate=False) for number, _ in enumerate(events)])


def plans() -> list[str]:
    """What the database would do for each query."""
    forget_counts(AuditEvent._meta.db_table)
    found = plans_of(lambda: (delivery_now(), delivery.seal_lag()), without=["seqscan"])
    return [plan for _, plan in found]


def test_of_an_empty_trail_there_is_nothing_to_tell() -> None:
    assert delivery_now() == delivery.Delivery(0, None, 0, None, None, 0)


def test_what_is_pending_and_failed_is_counted() -> None:
    for state in (State.PENDING, State.PENDING, State.FAILED, State.PUBLISHED, State.LOCAL, State.MIRRORED):
        make_row(state)
    now = delivery_now()
    assert (now.pending, now.failed) == (2, 1)


def hours_ago(hours: int) -> datetime:
    return timezone.now() - timedelta(hours=hours)


def waiting(hours: int, state: State = State.PENDING, **values: Any) -> AuditEvent:
    """A row that came in so long ago, of what happened a year before."""
    row = make_row(state, timestamp_ns=int(hours_ago(hours + 365 * 24).timestamp() * 1e9))
    AuditEvent.objects.filter(pk=row.pk).update(due_at=hours_ago(hours), **values)
    return row


def test_nothing_waits_for_longer_than_it_has_been_there() -> None:
    waiting(5, State.PUBLISHED)
    waiting(1)
    make_row()
    assert delivery_now().oldest_pending_seconds == pytest.approx(3600, abs=60)
    assert delivery.seal_lag() == pytest.approx(5 * 3600, abs=60)
    sealing.seal()
    assert delivery.seal_lag() == 0


def test_event_that_is_published_again_has_waited_since_then() -> None:
    waiting(100, State.PUBLISHED, attempts=1)
    waiting(100, State.FAILED, attempts=1, last_error="too large")
    AuditEvent.objects.replay()
    AuditEvent.objects.retry_failed()
    assert delivery_now().oldest_pending_seconds == pytest.approx(0, abs=60)


def test_event_that_is_refused_again_and_again_has_waited_since_it_happened() -> None:
    make_row(timestamp_ns=int(hours_ago(2).timestamp() * 1e9))
    for _ in range(3):
        AuditEvent.objects.update(due_at=timezone.now())
        outbox.mark(outbox.claim(10), [Rejected("the stream is full")])
    assert delivery_now().oldest_pending_seconds == pytest.approx(2 * 3600, abs=60)
    assert delivery.seal_lag() == pytest.approx(2 * 3600, abs=60)


def test_events_that_wait_behind_what_is_being_published_are_seen() -> None:
    waiting(3)
    waiting(3)
    AuditEvent.objects.filter(pk=AuditEvent.objects.earliest("pk").pk).update(due_at=timezone.now() + outbox.LEASE)
    assert delivery_now().oldest_pending_seconds == pytest.approx(3 * 3600, abs=60)
    assert delivery.FIRST > 2 * outbox.BATCH


def test_event_of_a_clock_that_is_ahead_is_not_younger_than_nothing() -> None:
    waiting(-1)
    assert delivery_now().oldest_pending_seconds == 0


def test_last_batch_that_was_published_is_remembered() -> None:
    make_row()
    make_row()
    publish_all(41)
    now = delivery_now()
    assert now.last_sequence == 42
    assert now.last_published_at == AuditEvent.objects.values_list("published_at", flat=True)[0]


def test_stream_that_was_made_anew_counts_from_its_start() -> None:
    make_row()
    publish_all(1000)
    make_row()
    publish_all(1)
    assert delivery_now().last_sequence == 1


def test_what_was_refused_is_not_the_last_published() -> None:
    make_row()
    events = outbox.claim(10)
    outbox.mark(events, [Rejected("not a subject", is_permanent=True)])
    now = delivery_now()
    assert (now.failed, now.last_sequence, now.last_published_at) == (1, None, None)


def test_events_are_unsealed_until_they_are_sealed() -> None:
    make_row()
    assert delivery_now().unsealed == 1
    sealing.seal()
    assert delivery_now().unsealed == 0


def test_counts_end_at_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "COUNTED", 2)
    for state in [State.PENDING] * 3 + [State.FAILED] * 3:
        make_row(state)
    now = delivery_now()
    assert (now.pending, now.failed, now.unsealed) == (2, 2, 2)


def test_each_figure_is_read_by_an_index() -> None:
    for state in (State.PENDING, State.FAILED, State.PUBLISHED):
        make_row(state)
    found = plans()
    assert len(found) == 6
    assert len([plan for plan in found if "audit_pending" in plan]) == 2
    assert len([plan for plan in found if "audit_failed" in plan]) == 1
    assert len([plan for plan in found if "audit_unsealed" in plan or "position" in plan]) == 2
