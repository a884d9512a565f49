"""Claims, marks and backing off. These tests run on SQLite and, by test_outbox_postgres.py, on PostgreSQL."""

from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from audit import answers, outbox, publisher
from audit.answers import Ack, Outcome, Rejected
from audit.models import AuditEvent, State
from audit.publisher import Message, Publisher, Unreachable
from tests.factories import make_row
from tests.servers import wait_until

pytestmark = pytest.mark.django_db


on_sqlite = pytest.mark.skipif(connection.vendor == "postgresql", reason="PostgreSQL locks rows and has no lease")
on_postgresql = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="SQLite locks the whole database, not rows"
)


def test_oldest_are_claimed_first_and_no_more_than_asked_for() -> None:
    rows = [make_row() for _ in range(5)]
    first = outbox.claim(3)
    assert [event.pk for event in first] == [row.pk for row in rows[:3]]
    outbox.mark(first, [Ack(1)] * 3)
    second = outbox.claim(3)
    assert [event.pk for event in second] == [row.pk for row in rows[3:]]
    outbox.mark(second, [Ack(1)] * 2)
    assert outbox.claim(3) == []


def test_one_organization_can_be_claimed_for_alone() -> None:
    make_row()
    own = make_row(org_id=UUID(int=7))
    assert [event.pk for event in outbox.claim(5, organization=UUID(int=7))] == [own.pk]


def test_what_comes_due_after_a_moment_is_not_claimed_by_then() -> None:
    row = make_row()
    assert outbox.claim(1, due_by=row.due_at - timedelta(microseconds=1)) == []
    assert [event.pk for event in outbox.claim(1, due_by=row.due_at)] == [row.pk]


def test_time_from_a_clock_that_was_ahead_holds_nothing_up() -> None:
    backing_off, misdated = make_row(), make_row()
    for row, pause in ((backing_off, outbox.MAX_BACKOFF), (misdated, 3600)):
        AuditEvent.objects.filter(pk=row.pk).update(due_at=timezone.now() + timedelta(seconds=pause))
    assert [event.pk for event in outbox.claim(5)] == [misdated.pk]


def test_claim_holds_what_is_published() -> None:
    row = make_row()
    (event,) = outbox.claim(1)
    assert event.message == Message(row.subject, row.payload, str(row.event_id))
    assert (event.pk, event.attempts) == (row.pk, 0)


def let_pass(time: timedelta) -> None:
    """Make every row look as it will after this time."""
    for pk, due_at in AuditEvent.objects.values_list("pk", "due_at"):
        AuditEvent.objects.filter(pk=pk).update(due_at=due_at - time)


@on_sqlite
def test_claim_whose_worker_died_is_claimed_again_when_its_lease_is_over() -> None:
    row = make_row()
    assert len(outbox.claim(1)) == 1
    let_pass(outbox.LEASE / 2)
    assert outbox.claim(1) == []
    let_pass(outbox.LEASE / 2)
    assert [event.pk for event in outbox.claim(1)] == [row.pk]


def test_lease_outlasts_the_longest_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[float] = []

    def run(publisher: Publisher, work: Coroutine[Any, Any, Any], timeout: float) -> None:
        work.close()
        bounds.append(timeout)

    monkeypatch.setattr(Publisher, "_run", run)
    client = Publisher("nats://127.0.0.1:1")
    client.publish([])
    client.close()
    assert timedelta(seconds=bounds[0]) < outbox.LEASE


def test_claim_itself_is_no_attempt() -> None:
    make_row()
    outbox.claim(1)
    row = AuditEvent.objects.get()
    assert (row.state, row.attempts, row.last_error) == ("pending", 0, "")


@pytest.mark.parametrize("state", [State.PUBLISHED, State.FAILED, State.LOCAL])
def test_only_pending_rows_are_claimed(state: State) -> None:
    make_row(state)
    assert outbox.claim(1) == []


def test_row_that_backs_off_does_not_hold_up_others() -> None:
    first, second = make_row(), make_row()
    AuditEvent.objects.filter(pk=first.pk).update(due_at=timezone.now() + timedelta(minutes=1))
    assert [event.pk for event in outbox.claim(2)] == [second.pk]


@on_postgresql
@pytest.mark.django_db(transaction=True)
def test_claim_whose_worker_died_is_free_at_once() -> None:
    row = make_row()

    def claim_and_die() -> list[int]:
        transaction.set_autocommit(False)
        claimed = [event.pk for event in outbox.claim(1)]
        connections.close_all()
        return claimed

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(claim_and_die).result(timeout=10) == [row.pk]
    wait_until(lambda: [event.pk for event in outbox.claim(1)] == [row.pk], what="the row is free")


@pytest.mark.django_db(transaction=True)
def test_workers_that_claim_at_once_never_share_a_row() -> None:
    for _ in range(60):
        make_row()

    def claim_some() -> list[int]:
        with transaction.atomic() if connection.vendor == "postgresql" else nullcontext():
            events = outbox.claim(4)
            outbox.mark(events, [Ack(1)] * len(events))
            return [event.pk for event in events]

    def claim_all() -> list[int]:
        mine: list[int] = []
        while claimed := claim_some():
            mine += claimed
        connections.close_all()
        return mine

    with ThreadPoolExecutor(4) as pool:
        claims = [future.result() for future in [pool.submit(claim_all) for _ in range(4)]]
    claimed = sorted(pk for claim in claims for pk in claim)
    assert claimed == sorted(AuditEvent.objects.values_list("pk", flat=True))


@on_postgresql
@pytest.mark.django_db(transaction=True)
def test_locked_row_is_skipped_rather_than_waited_for() -> None:
    locked, free = make_row(), make_row()

    def claim() -> list[int]:
        claimed = [event.pk for event in outbox.claim(2)]
        connections.close_all()
        return claimed

    with ThreadPoolExecutor(1) as pool, transaction.atomic():  # the lock goes first, or a failure would hang
        AuditEvent.objects.select_for_update().get(pk=locked.pk)
        assert pool.submit(claim).result(timeout=10) == [free.pk]


def test_ack_makes_a_row_published() -> None:
    make_row()
    (event,) = outbox.claim(1)
    outbox.mark([event], [Ack(42)])
    row = AuditEvent.objects.get()
    assert (row.state, row.stream_sequence, row.attempts) == ("published", 42, 1)
    assert row.published_at is not None
    assert abs(timezone.now() - row.published_at) < timedelta(minutes=1)


def test_ack_of_a_duplicate_is_success() -> None:
    make_row()
    (event,) = outbox.claim(1)
    outbox.mark([event], [Ack(42, is_duplicate=True)])
    assert AuditEvent.objects.get().state == "published"


@pytest.fixture
def long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Minutes for seconds: no pause is over before the test has looked."""
    backoff = outbox.backoff
    monkeypatch.setattr(outbox, "backoff", lambda attempts: 60 * backoff(attempts))


def test_transient_rejection_waits_and_is_tried_again(long_pauses: None) -> None:
    make_row()
    (event,) = outbox.claim(1)
    outbox.mark([event], [Rejected("no ack in time")])
    row = AuditEvent.objects.get()
    assert (row.state, row.attempts, row.last_error) == ("pending", 1, "no ack in time")
    assert row.due_at > timezone.now()


def test_permanent_rejection_is_the_end_with_its_reason() -> None:
    make_row()
    (event,) = outbox.claim(1)
    outbox.mark([event], [Rejected("MaxPayloadError", is_permanent=True)])
    row = AuditEvent.objects.get()
    assert (row.state, row.last_error) == ("failed", "MaxPayloadError")


def test_each_row_of_a_claim_has_its_own_outcome() -> None:
    rows = [make_row() for _ in range(3)]
    events = outbox.claim(3)
    outbox.mark(events, [Ack(1), Rejected("later"), Ack(2)])
    found = {row.pk: (row.state, row.stream_sequence) for row in AuditEvent.objects.all()}
    assert found == {
        rows[0].pk: ("published", 1),
        rows[1].pk: ("pending", None),
        rows[2].pk: ("published", 2),
    }


@pytest.mark.parametrize(
    "data",
    [
        b'{"seq":true}',
        b'{"seq":1000000000000000000000000}',
        b'{"error":{"description":"\\u0000\\ud800","err_code":7}}',
        b'{"error":{"description":"no","err_code":[]}}',
        b"\0\xff\xed\xa0\x80",
    ],
)
def test_answer_of_any_kind_can_be_marked_and_holds_up_no_other(data: bytes) -> None:
    for _ in range(2):
        make_row()
    outbox.mark(outbox.claim(2), [answers.read(data), Ack(1)])
    assert list(AuditEvent.objects.order_by("id").values_list("state", flat=True)) == ["pending", "published"]
    assert AuditEvent.objects.exclude(last_error="").count() == 1


def test_late_rejection_does_not_undo_what_another_worker_published() -> None:
    make_row()
    (event,) = outbox.claim(1)
    outbox.mark([event], [Ack(42)])
    outbox.mark([event], [Rejected("no ack in time")])
    assert AuditEvent.objects.get().state == "published"


def test_ack_after_all_wins_over_a_rejection_that_passed_for_good() -> None:
    make_row()
    (event,) = outbox.claim(1)
    outbox.mark([event], [Rejected("too large", is_permanent=True)])
    outbox.mark([event], [Ack(42)])
    row = AuditEvent.objects.get()
    assert (row.state, row.stream_sequence, row.last_error, row.attempts) == ("published", 42, "", 2)


def test_pause_grows_with_the_attempts_of_the_row(long_pauses: None) -> None:
    make_row()
    for attempt in range(4):
        (event,) = outbox.claim(1)
        before = timezone.now()
        outbox.mark([event], [Rejected("no ack in time")])
        row = AuditEvent.objects.get()
        pause = row.due_at - before
        assert row.attempts == attempt + 1
        assert timedelta(minutes=2**attempt / 2) <= pause < timedelta(minutes=2**attempt + 0.5)
        assert outbox.claim(1) == []
        let_pass(pause)


@given(attempts=st.integers(min_value=0, max_value=2**31))
def test_pauses_grow_to_a_bound_and_are_never_none(attempts: int) -> None:
    ceiling = min(outbox.MAX_BACKOFF, 2.0 ** min(attempts, 30))
    assert ceiling / 2 <= outbox.backoff(attempts) <= ceiling


class FakeNats:
    """Gives every message the same outcome, and remembers how many came at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> None:
        self.batches: list[int] = []
        self._outcome = outcome
        monkeypatch.setattr(publisher, "connect", lambda: None)
        monkeypatch.setattr(publisher, "publish", self._publish)
        monkeypatch.setattr(outbox, "BATCH", 2)

    def _publish(self, messages: Sequence[Message]) -> list[Outcome]:
        self.batches.append(len(messages))
        return [self._outcome] * len(messages)


def test_publishing_goes_on_until_nothing_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        make_row()
    nats = FakeNats(monkeypatch, Ack(1))
    assert outbox.publish_pending() is False
    assert nats.batches == [2, 2, 1]


def test_publishing_stops_at_its_share_and_says_that_there_may_be_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        make_row()
    nats = FakeNats(monkeypatch, Ack(1))
    assert outbox.publish_pending(seconds=0) is True
    assert nats.batches == [2]


def test_what_comes_while_the_last_of_it_is_published_is_left_to_its_own_nudge(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        make_row()
    nats = FakeNats(monkeypatch, Ack(1))
    publish = publisher.publish

    def publish_while_others_come(messages: Sequence[Message]) -> list[Outcome]:
        make_row()
        return publish(messages)

    monkeypatch.setattr(publisher, "publish", publish_while_others_come)
    assert outbox.publish_pending() is False
    assert nats.batches == [2, 2, 1]
    assert AuditEvent.objects.filter(state=State.PENDING).count() == 1


def test_publishing_stops_after_a_batch_that_got_no_ack(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        make_row()
    nats = FakeNats(monkeypatch, Rejected("no ack in time"))
    assert outbox.publish_pending() is False
    assert nats.batches == [2]


def make_tried() -> AuditEvent:
    row = make_row()
    AuditEvent.objects.filter(pk=row.pk).update(attempts=9)
    return row


@pytest.mark.parametrize(("seconds", "new_ones"), [(60.0, 3), (0.0, 1)])
def test_events_that_are_refused_again_and_again_hold_up_no_new_ones(
    monkeypatch: pytest.MonkeyPatch, seconds: float, new_ones: int
) -> None:
    refused = [make_tried() for _ in range(4)]
    new = [make_row() for _ in range(new_ones)]
    nats = FakeNats(monkeypatch, Rejected("may not be published to"))
    answer = publisher.publish

    def take_new(messages: Sequence[Message]) -> list[Outcome]:
        answers = answer(messages)
        tried = {str(row.event_id) for row in refused}
        return [a if m.message_id in tried else Ack(1) for m, a in zip(messages, answers, strict=True)]

    monkeypatch.setattr(publisher, "publish", take_new)
    assert outbox.publish_pending(seconds) is True  # what stands behind those that were refused has not been tried
    assert nats.batches == [2, *([2] if new_ones == 3 else []), 1]
    assert set(AuditEvent.objects.filter(state=State.PUBLISHED)) == set(new)
    assert outbox.publish_pending(seconds) is True
    assert outbox.publish_pending(seconds) is False
    assert AuditEvent.objects.filter(state=State.PENDING, attempts=10).count() == len(refused)


@pytest.mark.parametrize(("new_ones", "tried"), [(4, 2), (1, 1)])
def test_stream_that_takes_nothing_is_tried_with_what_is_new_and_then_left_alone(
    monkeypatch: pytest.MonkeyPatch, new_ones: int, tried: int
) -> None:
    for make, count in ((make_tried, 4), (make_row, new_ones)):
        for _ in range(count):
            make()
    nats = FakeNats(monkeypatch, Rejected("the stream is full"))
    assert outbox.publish_pending() is False
    assert nats.batches == [2, tried]
    assert AuditEvent.objects.filter(attempts=1).count() == tried


@pytest.mark.parametrize(("tried", "new_ones", "rests"), [(1, 0, False), (0, 1, True), (2, 0, True)])
def test_only_a_stream_that_takes_nothing_new_or_nothing_of_many_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, tried: int, new_ones: int, rests: bool
) -> None:
    monkeypatch.setattr(outbox._Refusal, "at", None)
    for make, count in ((make_tried, tried), (make_row, new_ones)):
        for _ in range(count):
            make()
    FakeNats(monkeypatch, Rejected("may not be published to"))
    outbox.publish_pending()
    assert (outbox._Refusal.at is not None) is rests


def test_nothing_is_claimed_while_nats_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise Unreachable

    row = make_row()
    FakeNats(monkeypatch, Ack(1))
    monkeypatch.setattr(publisher, "connect", refuse)
    with pytest.raises(Unreachable):
        outbox.publish_pending()
    assert AuditEvent.objects.get().due_at == row.due_at


def test_nats_that_goes_away_between_two_batches_leaves_nothing_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [make_row() for _ in range(4)]
    nats = FakeNats(monkeypatch, Ack(1))
    answer = publisher.publish

    def answer_once(messages: Sequence[Message]) -> list[Outcome]:
        if nats.batches:
            raise Unreachable
        return answer(messages)

    monkeypatch.setattr(publisher, "publish", answer_once)
    with pytest.raises(Unreachable):
        outbox.publish_pending()
    assert [event.pk for event in outbox.claim(4)] == [row.pk for row in rows[2:]]


def test_batch_of_which_one_was_acked_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        make_row()
    nats = FakeNats(monkeypatch, Ack(1))

    def all_but_one(messages: Sequence[Message]) -> list[Outcome]:
        nats.batches.append(len(messages))
        return [Rejected("no ack in time"), *[Ack(1)] * (len(messages) - 1)]

    monkeypatch.setattr(publisher, "publish", all_but_one)
    outbox.publish_pending()
    assert nats.batches == [2, 1]


def test_batch_refused_for_good_does_not_hold_up_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        make_row()
    nats = FakeNats(monkeypatch, Rejected("too large", is_permanent=True))
    assert outbox.publish_pending() is False
    assert nats.batches == [2, 2, 1]
    assert set(AuditEvent.objects.values_list("state", flat=True)) == {"failed"}


@pytest.mark.parametrize("subject", ["a b", "a\r\nPUB x 0\r\n", "a.>", "*", ""])
def test_row_whose_subject_cannot_be_is_claimed_as_it_is(subject: str) -> None:
    make_row()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE audit_auditevent SET subject = %s", [subject])
    (event,) = outbox.claim(1)
    assert event.message.subject == subject


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL keeps UUIDs alone in such a column")
def test_row_whose_id_is_no_uuid_is_claimed_for_the_publisher_to_refuse() -> None:
    hostile, good = make_row(), make_row()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE audit_auditevent SET event_id = %s WHERE id = %s", ["x\r\nNats-Rollup: all", hostile.pk])
    claimed = outbox.claim(2)
    assert [event.message.message_id for event in claimed] == ["x\r\nNats-Rollup: all", str(good.event_id)]


HISTORY = 100_000


@pytest.fixture
def long_history() -> None:
    """As many published rows as make a plan that reads them show; SQL makes them, for Python would take a minute."""
    make_row(State.PUBLISHED)
    columns = [str(field.column) for field in AuditEvent._meta.local_concrete_fields if not field.primary_key]
    fresh_id = "gen_random_uuid()" if connection.vendor == "postgresql" else "lower(hex(randomblob(16)))"
    values = ", ".join(fresh_id if column == "event_id" else column for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(f"""
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {HISTORY})
            INSERT INTO audit_auditevent ({", ".join(columns)}) SELECT {values} FROM audit_auditevent, n
        """)  # noqa: S608
    for _ in range(20):
        make_row()


@pytest.mark.parametrize("has_statistics", [True, False])
@on_postgresql
def test_claim_reads_nothing_of_a_long_history_on_postgresql(long_history: None, has_statistics: bool) -> None:
    with connection.cursor() as cursor:
        if has_statistics:
            cursor.execute("ANALYZE audit_auditevent")
        cursor.execute(outbox._FOLLOW_INDEX)
        query, parameters = outbox._due(512, timezone.now())
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", parameters)
        plan = cursor.fetchone()[0][0]["Plan"]
    nodes = [plan]
    for node in nodes:
        nodes += node.get("Plans", [])
    (scan,) = [node for node in nodes if "Scan" in node["Node Type"]]
    assert (scan["Node Type"], scan["Index Name"]) == ("Index Scan", "audit_pending")
    assert (scan["Actual Rows"], scan["Rows Removed by Filter"]) == (20, 0)


@on_sqlite
def test_claim_reads_nothing_of_a_long_history_on_sqlite(long_history: None) -> None:
    with connection.cursor() as cursor:
        query, parameters = outbox._due(512, timezone.now())
        cursor.execute(f"EXPLAIN QUERY PLAN {query}", parameters)
        steps = [row[3] for row in cursor.fetchall()]
    assert steps == ["SCAN audit_auditevent USING INDEX audit_pending"]
