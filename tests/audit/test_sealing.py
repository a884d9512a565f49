"""Sealing gives each event one place and counts it once. On SQLite and, by test_outbox_postgres.py, on PostgreSQL."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings as project
from django.db import OperationalError, connection, connections, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from audit import chain, outbox, sealing, totals, trail_rows
from audit.events import Action, Kind
from audit.models import AuditEvent, State, TrailHead, UsageTotal
from audit.publisher import Ack
from audit.upkeep_tasks import seal
from audit.usage import Usage, usage_by_organization
from tests.audit.trails import sql
from tests.factories import database_url, make_event, make_row
from tests.servers import wait_until

pytestmark = pytest.mark.django_db

ONE, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)


def sealed_rows() -> list[trail_rows.TrailRow]:
    return trail_rows.read("position IS NOT NULL ORDER BY position", [])


def assert_chained() -> None:
    """Positions are 1, 2, 3, …, each link follows from the one before, and the head is the last."""
    rows = sealed_rows()
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    link = chain.GENESIS
    for row in rows:
        assert row.position is not None
        link = chain.link_of(link, row.position, row.values)
        assert row.link == link
    head = TrailHead.objects.get()
    assert (head.position, bytes(head.link)) == (len(rows), link)


def usage_of_totals(granularity: str = "day") -> dict[str, Usage]:
    """The totals as audit/usage.py has usage."""
    usage: dict[str, Usage] = {}
    for total in UsageTotal.objects.filter(granularity=granularity):
        mine = usage.setdefault(str(total.org_id), Usage())
        match total.kind:
            case Kind.UPLOADED:
                mine.uploads += total.transfers
                mine.uploaded_bytes += total.bytes
            case Kind.DEDUPLICATED:
                mine.skipped_uploads += total.transfers
                mine.saved_bytes += total.bytes
            case Kind.DOWNLOADED:
                mine.downloads += total.transfers
                mine.downloaded_bytes += total.bytes
    return usage


def usage_of_payloads(payloads: Iterable[str]) -> dict[str, Usage]:
    return usage_by_organization(json.loads(payload) for payload in payloads)


def test_events_are_chained_in_the_order_of_their_ids() -> None:
    rows = [make_row() for _ in range(5)]
    assert sealing.seal() == 5
    assert [row.pk for row in sealed_rows()] == [row.pk for row in rows]
    assert_chained()


def test_nothing_to_seal_changes_nothing() -> None:
    make_row()
    sealing.seal()
    before = TrailHead.objects.values().get()
    assert sealing.seal() == 0
    assert TrailHead.objects.values().get() == before


def test_chain_goes_on_where_it_ended() -> None:
    for count in (1, 3, 2):
        for _ in range(count):
            make_row()
        assert sealing.seal(batch=2) == count
    assert_chained()


def test_state_of_delivery_is_no_part_of_a_link() -> None:
    make_row()
    sealing.seal()
    AuditEvent.objects.update(state=State.FAILED, attempts=7, last_error="because", stream_sequence=3)
    assert_chained()


def test_events_of_every_state_and_kind_are_sealed() -> None:
    for state in State:
        make_row(state)
    row = make_row(State.MIRRORED)
    other = AuditEvent(
        event_id=uuid.uuid4(), occurred_at=row.occurred_at, action="OrgCreated", subject="audit.org", payload="no JSON"
    )
    other.save()
    assert sealing.seal() == len(State) + 2
    assert_chained()
    assert usage_of_totals() == usage_of_payloads(
        AuditEvent.objects.exclude(pk=other.pk).values_list("payload", flat=True)
    )


def test_run_that_may_take_no_time_still_does_one_batch() -> None:
    for _ in range(5):
        make_row()
    assert sealing.seal(seconds=0, batch=2) == 2
    assert AuditEvent.objects.filter(position=None).count() == 3


def test_each_run_is_as_long_as_the_worker_did_other_things(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    runs: list[float] = []
    monkeypatch.setattr(sealing._Turn, "ended", now)
    monkeypatch.setattr(sealing, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(sealing, "seal", runs.append)
    for others in (0.0, 0.1, 3.0, 3600.0):
        now += others
        sealing.take_turn()
    assert runs == [sealing.SECONDS, sealing.SECONDS, 3.0, sealing.MOST]


@pytest.mark.parametrize(
    ("events", "since_own_turn", "since_any", "is_late"),
    [
        (1, 500.0, None, True),
        (1, 500.0, 500.0, True),
        (0, 500.0, 500.0, False),  # nothing waits
        (1, 300.0, 500.0, False),  # this worker has just sealed
        (1, 500.0, 300.0, False),  # another has
        (1, 500.0, -300.0, False),  # another has, whose clock is ahead
        (1, 500.0, -500.0, True),  # the clock was set back
    ],
)
def test_sealing_is_late_when_events_wait_and_nobody_has_sealed_for_two_periods(
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    events: int,
    since_own_turn: float,
    since_any: float | None,
    is_late: bool,
) -> None:
    settings.CAS_SEAL_SECONDS = 200.0
    for _ in range(events):
        make_row()
    if since_any is not None:
        TrailHead.objects.create(pk=1, sealed_at=timezone.now() - timedelta(seconds=since_any))
    monkeypatch.setattr(sealing._Turn, "ended", time.monotonic() - since_own_turn)
    assert sealing.is_late() is is_late


def test_task_seals() -> None:
    make_row()
    seal()
    assert_chained()


def test_task_that_cannot_seal_says_so_in_a_line(caplog: pytest.LogCaptureFixture, settings: Any) -> None:
    make_row()
    settings.CAS_CHECKPOINT_KEY = "/no/such/key"
    seal()
    assert [record.getMessage() for record in caplog.records] == [
        "No checkpoint could be signed: /no/such/key cannot be read: No such file or directory."
    ]
    assert_chained()
    caplog.clear()

    def refuse(*args: Any) -> None:
        raise OperationalError("database is locked")

    make_row()
    with connection.execute_wrapper(refuse):
        seal()
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [("WARNING", None)]


def test_totals_are_by_hour_and_by_day_by_location_and_by_kind() -> None:
    def at(day: int, hour: int, **values: Any) -> None:
        time = datetime(2026, 11, day, hour, 59, 59, 999_999, UTC)
        make_row(timestamp_ns=chain.microseconds_of(time) * 1000, org_id=ONE, **values)

    at(1, 0, size_bytes=1)
    at(1, 0, size_bytes=2)
    at(1, 23, size_bytes=4)
    at(2, 0, size_bytes=8)
    at(1, 0, size_bytes=16, skipped=True)
    at(1, 0, size_bytes=32, action=Action.DOWNLOADED)
    at(1, 0, size_bytes=64, location="other")
    sealing.seal(batch=3)
    found = {
        (total.granularity, f"{total.start:%d %H:%M}", total.location, total.kind, total.transfers, total.bytes)
        for total in UsageTotal.objects.all()
    }
    assert found == {
        ("hour", "01 00:00", "default", "uploaded", 2, 3),
        ("hour", "01 23:00", "default", "uploaded", 1, 4),
        ("hour", "02 00:00", "default", "uploaded", 1, 8),
        ("hour", "01 00:00", "default", "deduplicated", 1, 16),
        ("hour", "01 00:00", "default", "downloaded", 1, 32),
        ("hour", "01 00:00", "other", "uploaded", 1, 64),
        ("day", "01 00:00", "default", "uploaded", 3, 7),
        ("day", "02 00:00", "default", "uploaded", 1, 8),
        ("day", "01 00:00", "default", "deduplicated", 1, 16),
        ("day", "01 00:00", "default", "downloaded", 1, 32),
        ("day", "01 00:00", "other", "uploaded", 1, 64),
    }


events = st.builds(
    make_event,
    timestamp_ns=st.integers(0, 10**19),
    action=st.sampled_from(Action),
    org_id=st.sampled_from([ONE, OTHER]),
    size_bytes=st.integers(0, 2**50),
    file_name=st.just("a"),
    backend=st.sampled_from(["", "FILESYSTEM", "AWS-S3"]),
    location=st.sampled_from(["default", "other"]),
    skipped=st.booleans(),
)


@given(lots=st.lists(st.lists(events, max_size=5), max_size=4), batch=st.integers(1, 4))
@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_totals_are_the_consumer_arithmetic_over_the_payloads(lots: list[list[Any]], batch: int) -> None:
    with transaction.atomic():
        for lot in lots:
            for event in lot:
                # Only an upload can be skipped.
                skipped = event.skipped and event.action is Action.UPLOADED
                AuditEvent.of(event._replace(skipped=skipped), State.MIRRORED).save()
            while sealing.seal_batch(batch):
                pass
        expected = usage_of_payloads(AuditEvent.objects.values_list("payload", flat=True))
        assert usage_of_totals("day") == expected
        assert usage_of_totals("hour") == expected
        if expected:
            assert_chained()
        transaction.set_rollback(True)


def test_sizes_that_no_sum_can_hold_do_not_end_sealing() -> None:
    for size in (2**63 - 1, 2**63 - 1, 5, -(2**63), -(2**63), -(2**63)):
        make_row(State.MIRRORED, size_bytes=size)
        sealing.seal()
    assert {abs(total.bytes) for total in UsageTotal.objects.all()} == {totals.LIMIT}
    assert_chained()


@pytest.mark.django_db(transaction=True)
def test_event_that_is_committed_late_is_sealed_late_and_counted() -> None:
    def commit_after(others: Any) -> None:
        with transaction.atomic():
            make_row(org_id=ONE, size_bytes=1)
            others()
        connections.close_all()

    def seal_another() -> None:
        def work() -> None:
            make_row(org_id=ONE, size_bytes=2)
            sealing.seal()
            connections.close_all()

        if connection.vendor == "sqlite":
            return  # nobody else can write meanwhile
        with ThreadPoolExecutor(1) as pool:
            pool.submit(work).result(timeout=20)

    commit_after(seal_another)
    sealing.seal()
    assert_chained()
    assert usage_of_totals() == usage_of_payloads(AuditEvent.objects.values_list("payload", flat=True))
    if connection.vendor == "postgresql":
        ids = [row.pk for row in sealed_rows()]
        assert ids == sorted(ids, reverse=True)


@pytest.mark.django_db(transaction=True)
def test_sealers_at_once_seal_each_event_once() -> None:
    for _ in range(60):
        make_row()

    def seal_all() -> int:
        count = 0
        while AuditEvent.objects.filter(position=None).exists():
            count += sealing.seal_batch(4)
        connections.close_all()
        return count

    with ThreadPoolExecutor(4) as pool:
        counts = [future.result() for future in [pool.submit(seal_all) for _ in range(4)]]
    assert sum(counts) == 60
    assert_chained()
    assert usage_of_totals() == usage_of_payloads(AuditEvent.objects.values_list("payload", flat=True))


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite locks the whole database, not rows")
@pytest.mark.django_db(transaction=True)
def test_row_that_publishing_works_on_is_sealed_next_time() -> None:
    busy, free = make_row(), make_row()

    def seal_now() -> int:
        count = sealing.seal_batch()
        connections.close_all()
        return count

    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        AuditEvent.objects.select_for_update().get(pk=busy.pk)
        assert pool.submit(seal_now).result(timeout=10) == 1
    assert sealing.seal_batch() == 1
    assert [row.pk for row in sealed_rows()] == [free.pk, busy.pk]
    assert_chained()


@pytest.mark.django_db(transaction=True)
def test_publishing_and_sealing_at_once_do_not_undo_each_other() -> None:
    for _ in range(80):
        make_row()

    def publish() -> None:
        while AuditEvent.objects.filter(state=State.PENDING).exists():
            outbox.mark(claimed := outbox.claim(7), [Ack(1)] * len(claimed))
        connections.close_all()

    def seal_all() -> None:
        while AuditEvent.objects.filter(position=None).exists():
            sealing.seal_batch(5)
        connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(work) for work in (publish, seal_all, publish, seal_all)]:
            future.result(timeout=60)
    assert_chained()
    assert AuditEvent.objects.filter(state=State.PUBLISHED).count() == 80


SEAL_FOR_EVER = """
import django
django.setup()
from audit import sealing
while True:
    sealing.seal_batch(3)
"""


@pytest.mark.django_db(transaction=True)
def test_sealer_that_is_killed_again_and_again_leaves_totals_that_are_the_sum_of_the_events() -> None:
    for kill in range(4):
        rows = [make_row(org_id=OTHER if number % 3 else ONE, size_bytes=number) for number in range(60)]
        process = subprocess.Popen(
            [sys.executable, "-c", SEAL_FOR_EVER],
            env={**os.environ, "DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "casproject.settings"},
            cwd=project.BASE_DIR,
        )
        try:
            wanted = rows[kill * 13].pk
            sealed = AuditEvent.objects.filter(position__isnull=False, pk__gte=wanted)
            wait_until(sealed.all().exists, seconds=60, what="the other process seals")
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        assert usage_of_totals() == usage_of_payloads(
            AuditEvent.objects.exclude(position=None).values_list("payload", flat=True)
        )
        assert_chained()
    while sealing.seal_batch():
        pass
    assert usage_of_totals() == usage_of_payloads(AuditEvent.objects.values_list("payload", flat=True))
    assert_chained()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite keeps what is no time in a column of times")
def test_values_of_no_kind_are_sealed_as_they_are() -> None:
    make_row()
    sql("UPDATE audit_auditevent SET occurred_at = '2026-13-45 00:00:00', size_bytes = 'x'")
    sealing.seal()
    assert_chained()
    assert not UsageTotal.objects.exists()


@pytest.mark.skipif(
    connection.vendor != "sqlite", reason="only SQLite keeps bytes that are no text in a column of text"
)
def test_location_that_is_no_text_is_sealed_and_counted() -> None:
    make_row()
    sql("UPDATE audit_auditevent SET location = CAST(x'ff' AS TEXT)")
    sealing.seal()
    assert_chained()
    assert set(UsageTotal.objects.values_list("location", flat=True)) == {"\ufffd"}


def test_old_events_count_for_their_own_day() -> None:
    make_row(timestamp_ns=0)
    sealing.seal()
    assert set(UsageTotal.objects.values_list("start", flat=True)) == {datetime(1970, 1, 1, tzinfo=UTC)}
