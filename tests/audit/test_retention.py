"""What is old leaves, and the trail still verifies; what matters stays. On SQLite and on PostgreSQL."""

import io
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit import removals, retention, upkeep_tasks
from audit.chain_reading import TamperedError
from audit.findings import Finding
from audit.models import AuditEvent, RemovedEvents, State, TrailHead, UsageTotal
from audit.statements import KeyRing
from audit.trail_rows import TrailRow
from audit.upkeep_tasks import remove_expired
from audit.verification import Scan, verify
from tests.audit.trails import checkpoint_now, make_trail, old_ns, remove, rewrite_links, seal_all, sql
from tests.factories import make_row

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_pause")]


def make_old(*states: State, days: float = 10, checkpoint: bool = True) -> None:
    """Sealed events of these states, so old, and a checkpoint of now."""
    for state in states:
        make_row(state, timestamp_ns=old_ns(days))
    seal_all()
    if checkpoint:
        checkpoint_now()


def positions() -> list[int | None]:
    return list(AuditEvent.objects.order_by("position").values_list("position", flat=True))


def ranges() -> list[tuple[int, int]]:
    return list(RemovedEvents.objects.order_by("first_position").values_list("first_position", "last_position"))


def findings(keys: KeyRing) -> list[Finding]:
    return verify(keys).findings


OLD = [State.PUBLISHED] * 6


def test_old_events_leave_and_the_trail_verifies(keys: KeyRing) -> None:
    make_old(*OLD)
    make_trail(3)
    assert remove() == 6
    assert (positions(), ranges()) == ([7, 8, 9, 10, 11], [(1, 6)])
    report = verify(keys)
    assert report.findings == []
    assert (report.events, report.removed) == (5, 6)


def test_totals_outlive_their_events(keys: KeyRing) -> None:
    make_old(*OLD)
    before = list(UsageTotal.objects.order_by("id").values())
    assert before
    assert remove() == 6
    assert list(UsageTotal.objects.order_by("id").values()) == before


def test_what_is_still_to_be_published_stays_while_its_neighbours_go(keys: KeyRing) -> None:
    make_old(State.PUBLISHED, State.FAILED, State.LOCAL, State.PENDING, State.MIRRORED, State.PUBLISHED)
    assert remove() == 4
    assert (positions(), ranges()) == ([2, 4, 7], [(1, 1), (3, 3), (5, 6)])
    assert findings(keys) == []
    AuditEvent.objects.filter(position=2).update(state=State.PUBLISHED)
    assert remove() == 1
    assert ranges() == [(1, 3), (5, 6)]
    assert findings(keys) == []


def test_event_that_is_not_sealed_stays(keys: KeyRing) -> None:
    make_row(State.PUBLISHED, timestamp_ns=old_ns(10))
    assert remove() == 0
    assert AuditEvent.objects.count() == 1


def test_whole_trail_may_leave_but_for_its_last_checkpoint(keys: KeyRing) -> None:
    make_old(*OLD)
    make_old(*OLD)
    assert remove() == 12
    assert ranges() == [(1, 6), (8, 13)]
    assert remove(days=1e-9) == 1
    assert (positions(), ranges()) == ([14], [(1, 13)])
    assert findings(keys) == []


def test_stretches_that_touch_become_one(keys: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    make_old(*OLD)
    assert remove() == 6
    assert ranges() == [(1, 6)]
    assert findings(keys) == []


def test_old_event_that_came_late_leaves_by_itself(keys: KeyRing) -> None:
    make_trail(2)
    make_old(State.PUBLISHED)
    assert remove() == 1
    assert ranges() == [(4, 4)]
    assert findings(keys) == []


@pytest.mark.usefixtures("forgetful")
@given(
    ages=st.lists(st.tuples(st.sampled_from([1, 9, 10, 11]), st.sampled_from(State)), min_size=1, max_size=15),
    batch=st.integers(1, 5),
    seals=st.integers(1, 5),
)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_trail_of_any_ages_verifies_after_retention(
    ages: list[tuple[int, State]], batch: int, seals: int, keys: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", batch)
    with transaction.atomic():
        for start in range(0, len(ages), seals):
            for days, state in ages[start : start + seals]:
                make_row(state, timestamp_ns=old_ns(days))
            seal_all()
            checkpoint_now()
        stay = {State.PENDING, State.FAILED}
        leaving = [state for days, state in ages if days > 5 and state not in stay]
        assert remove() == len(leaving)
        end = TrailHead.objects.get().position
        assert [start for start in range(1, end + 2) if verify(keys, start).findings] == []
        assert not [pair for pair in zip(ranges(), ranges()[1:], strict=False) if pair[0][1] + 1 == pair[1][0]]
        transaction.set_rollback(True)


def test_evidence_does_not_expire(keys: KeyRing) -> None:
    make_old(*OLD)
    sql("UPDATE audit_auditevent SET file_name = 'forged' WHERE position = 3")
    with pytest.raises(TamperedError, match="position 3 is not as it was sealed"):
        remove()
    assert (positions(), ranges()) == ([1, 2, 3, 4, 5, 6, 7], [])


def test_gap_that_retention_did_not_make_is_not_covered_up(keys: KeyRing) -> None:
    make_old(*OLD)
    sql("DELETE FROM audit_auditevent WHERE position = 3")
    with pytest.raises(TamperedError, match="no event at position 3"):
        remove()
    assert [found.position for found in findings(keys)] == [3]


def test_event_that_is_to_be_published_again_meanwhile_stays(keys: KeyRing) -> None:
    make_old(*OLD)
    AuditEvent.objects.filter(position=3).update(state=State.PENDING)
    run = retention._Run.of(retention.cutoff(5), TrailHead.objects.get())
    assert retention._remove(1, 6, run.before, run) == 0
    assert (len(positions()), ranges()) == (7, [])


@pytest.mark.django_db(transaction=True)
def test_two_at_once_remove_each_event_once(keys: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    make_old(*OLD, *OLD, *OLD)

    def work() -> None:
        remove()
        connections.close_all()

    with ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(work) for _ in range(3)]:
            future.result(timeout=60)
    assert (positions(), ranges()) == ([19], [(1, 18)])
    assert findings(keys) == []


@pytest.mark.parametrize(
    ("change", "position", "problem"),
    [
        ("UPDATE audit_removedevents SET last_position = 5", 1, "not what was signed"),
        ("UPDATE audit_removedevents SET first_position = 2", 1, "was removed"),
        ("UPDATE audit_removedevents SET removed_at = '2026-01-01 00:00:00+00:00'", 1, "not what was signed"),
        ("UPDATE audit_removedevents SET signature = '', key_id = ''", 1, "not signed"),
        ("UPDATE audit_removedevents SET signature = 'AAAA'", 1, "not what was signed"),
        ("UPDATE audit_removedevents SET key_id = '0'", 1, "key that was not given"),
        ("DELETE FROM audit_removedevents", 1, "was removed, and so were all up to position 6"),
        ("DELETE FROM audit_auditevent WHERE position = 7", 7, "was removed"),
        ("UPDATE audit_trailhead SET trail_id = '00000000000000000000000000000001'", 1, "not what was signed"),
    ],
)
def test_note_that_was_changed_is_named(change: str, position: int, problem: str, keys: KeyRing) -> None:
    make_old(*OLD)
    make_trail(2)
    remove()
    sql(change)
    found = findings(keys)[0]
    assert (found.position, problem in found.problem) == (position, True), found


@pytest.mark.parametrize(
    ("change", "start", "position", "problem"),
    [
        ("UPDATE audit_auditevent SET size_bytes = 99, payload = 'x' WHERE position = 7", 7, 7, "altered"),
        ("UPDATE audit_removedevents SET signature = ''", 7, 1, "not signed"),
        ("DELETE FROM audit_removedevents", 7, 6, "was removed"),
        ("DELETE FROM audit_auditevent WHERE position = 8", 9, 8, "was removed"),
        ("UPDATE audit_auditevent SET link = NULL WHERE position = 8", 9, 8, "its link is gone"),
    ],
)
def test_scan_behind_what_is_gone_sees_its_first_event(
    change: str, start: int, position: int, problem: str, keys: KeyRing
) -> None:
    make_old(*OLD)
    make_trail(2)
    remove()
    assert verify(keys, start).findings == []
    sql(change)
    found = verify(keys, start).findings[0]
    assert (found.position, problem in found.problem) == (position, True), found


@pytest.mark.parametrize("column", ["link", "previous_link"])
def test_note_with_another_link_is_named(column: str, keys: KeyRing) -> None:
    make_old(*OLD)
    remove()
    sql(f"UPDATE audit_removedevents SET {column} = %s", b"1" * 32)  # noqa: S608
    assert findings(keys)[0].problem.endswith("not what was signed")


def test_note_that_is_widened_covers_nothing_up(keys: KeyRing) -> None:
    make_trail(1)
    make_old(*OLD)
    remove()
    assert ranges() == [(3, 8)]
    sql("DELETE FROM audit_auditevent WHERE position = 2")
    sql("UPDATE audit_removedevents SET first_position = 2")
    assert "not what was signed" in findings(keys)[0].problem


def test_row_before_a_removed_stretch_that_was_rewritten_with_its_link_is_named(keys: KeyRing) -> None:
    """The checkpoint behind it is gone with the stretch; the link before it, in the note, is what is left."""
    make_row(State.FAILED, timestamp_ns=old_ns(10))
    make_old(*OLD)
    remove()
    sql("UPDATE audit_auditevent SET file_name = 'forged' WHERE position = 1")
    head = TrailHead.objects.values_list("link", flat=True).get()
    end = AuditEvent.objects.get(position=8)
    rewrite_links(1)
    sql("UPDATE audit_auditevent SET link = %s WHERE position = 8", bytes(end.link or b""))
    sql("UPDATE audit_trailhead SET link = %s", bytes(head))
    found = findings(keys)[0]
    assert (found.position, "does not lead to positions 2 to 7" in found.problem) == (1, True)


@pytest.mark.parametrize("position", [1, 3, 6])
def test_event_that_is_put_where_all_were_removed_is_named(position: int, keys: KeyRing) -> None:
    make_old(*OLD)
    remove()
    forged = make_row(State.PUBLISHED)
    sql("UPDATE audit_auditevent SET position = %s, link = %s WHERE id = %s", position, b"1" * 32, forged.pk)
    assert [found.row_id for found in findings(keys)][-1] == forged.pk


def test_note_beyond_the_end_is_named(keys: KeyRing, private_key: Ed25519PrivateKey) -> None:
    make_trail(1)
    head = TrailHead.objects.get()
    RemovedEvents.objects.create(
        first_position=3, last_position=5, previous_link=head.link, link=b"1" * 32, removed_at="2026-01-01T00:00:00Z"
    )
    assert [found.problem for found in findings(keys)] == [
        "retention is said to have removed positions 3 to 5, and the trail ends at 2"
    ]


def test_note_that_somebody_else_wrote_is_not_signed_along(keys: KeyRing) -> None:
    make_old(*OLD)
    link = AuditEvent.objects.get(position=2).link
    assert link is not None
    sql("DELETE FROM audit_auditevent WHERE position < 3")
    RemovedEvents.objects.create(
        first_position=1, last_position=2, previous_link=bytes(32), link=link, removed_at="2026-01-01T00:00:00Z"
    )
    assert remove() == 4
    assert ranges() == [(1, 2), (3, 6)]
    assert [found.position for found in findings(keys)] == [1]


def test_without_a_key_notes_are_not_signed_and_still_lead_on(settings: Any) -> None:
    settings.CAS_CHECKPOINT_KEY = ""
    make_old(*OLD)
    assert remove() == 6
    assert RemovedEvents.objects.get().signature == ""
    assert findings(KeyRing()) == []


def test_covering_finds_the_stretch_of_a_position(keys: KeyRing) -> None:
    make_old(State.PUBLISHED, State.FAILED, State.PUBLISHED, State.PUBLISHED)
    remove()
    found = [removals.covering(position) for position in range(1, 6)]
    assert [str(removed) for removed in found] == [
        *("positions 1 to 1", "None", "positions 3 to 4", "positions 3 to 4", "None")
    ]


def test_retention_is_off_unless_it_is_switched_on(keys: KeyRing, settings: Any) -> None:
    make_old(*OLD)
    make_old(State.LOCAL, days=2)
    remove_expired()
    assert len(positions()) == 9
    settings.AUDIT_RETENTION_DAYS = 5
    remove_expired()
    assert len(positions()) == 3


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has this machine's clock")
def test_one_clock_that_is_ahead_lets_no_event_go(keys: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    make_old(*OLD)
    ahead = timezone.now() + timedelta(days=365)
    monkeypatch.setattr(timezone, "now", lambda: ahead)
    assert remove(days=11) == 0
    assert remove(days=9) == 6


@pytest.mark.parametrize("days", [5, 0.5])
def test_all_there_is_stays_until_the_trail_has_gone_on_for_a_day(
    days: float, keys: KeyRing, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """As it is after a clock has jumped ahead, or after a machine was off for so long."""
    settings.AUDIT_RETENTION_DAYS = days
    make_old(*OLD)
    with CaptureQueriesContext(connection) as queries:
        remove_expired()
    assert not any("COUNT(" in query["sql"] for query in queries)  # of the whole trail, every ten minutes
    assert len(positions()) == 7
    (told,) = caplog.records
    assert told.levelno == logging.CRITICAL
    assert f"stay, the oldest for {10 - days:.1f} days: all there is but for the last day. Is the clock" in told.message
    assert retention.lag(days) > 86400
    make_old(State.LOCAL, days=min(1.1, days * 0.6))
    remove_expired()
    assert len(positions()) == 3


def test_trail_that_has_just_begun_is_no_reason_to_ask_for_the_clock(
    keys: KeyRing, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.AUDIT_RETENTION_DAYS = 5
    remove_expired()
    make_trail(2)
    remove_expired()
    assert caplog.records == []


def test_run_that_was_too_short_is_followed_by_another_while_it_removes_any(
    keys: KeyRing, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.AUDIT_RETENTION_DAYS = 5
    monkeypatch.setattr(upkeep_tasks, "RETENTION_SECONDS", 0.0)
    monkeypatch.setattr(retention, "BATCH", 4)
    followed: list[float] = []
    monkeypatch.setattr(remove_expired, "apply_async", lambda *, expires: followed.append(expires))
    make_old(*OLD)
    make_old(State.LOCAL, days=2)
    remove_expired()
    assert len(followed) == 1
    remove_expired()
    assert (len(followed), len(positions())) == (2, 3)
    remove_expired()
    assert len(followed) == 2


def test_lag_is_how_long_the_oldest_is_beyond_its_time(keys: KeyRing) -> None:
    make_old(*OLD)
    assert (retention.lag(0), retention.lag(10_000)) == (0, 0)
    assert retention.lag(5) == pytest.approx((10 - 5) * 86400, abs=3600)
    remove()
    assert retention.lag(5) == 0


def test_run_stops_after_its_time_and_goes_on_next_time(keys: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    make_old(*OLD)
    before = retention.cutoff(5)
    assert list(retention.remove_expired(before, seconds=0)) == [2]
    assert list(retention.remove_expired(before)) == [2, 2]


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("remove_expired_events", *arguments, stdout=out)
    return out.getvalue()


def test_command_says_what_would_go_and_what_went(keys: KeyRing) -> None:
    make_old(*OLD)
    assert run("--days", "5", "--dry-run") == "6 events are older than 5 days and would go.\n"
    assert len(positions()) == 7
    assert run("--days", "5") == "Removed 6 events that were older than 5 days.\n"
    assert len(positions()) == 1


def test_command_counts_one_as_one(keys: KeyRing) -> None:
    make_old(State.PUBLISHED)
    assert run("--days", "1", "--dry-run") == "1 event is older than 1 day and would go.\n"
    assert run("--days", "1") == "Removed 1 event that was older than 1 day.\n"


def test_command_says_what_waits_for_a_checkpoint(keys: KeyRing) -> None:
    make_old(*OLD, checkpoint=False)
    assert run("--days", "5").endswith("6 stay until the worker has written a checkpoint behind them.\n")
    checkpoint_now()
    assert run("--days", "5") == "Removed 6 events that were older than 5 days.\n"


def test_command_wants_an_age(keys: KeyRing, settings: Any) -> None:
    with pytest.raises(CommandError, match="kept for ever"):
        run()
    settings.AUDIT_RETENTION_DAYS = 5
    assert run() == "Removed 0 events that were older than 5 days.\n"


@pytest.mark.parametrize("days", ["0", "-1", "x", "nan", "1e9"])
def test_command_refuses_what_is_no_age(days: str) -> None:
    with pytest.raises(CommandError, match="is not a number of days above 0"):
        run("--days", days)


def test_command_says_what_is_not_as_it_was_sealed(keys: KeyRing) -> None:
    make_old(*OLD)
    sql("UPDATE audit_auditevent SET size_bytes = 99 WHERE position = 1")
    with pytest.raises(CommandError, match="position 1 is not as it was sealed"):
        run("--days", "5")


def test_command_says_that_the_database_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OperationalError("it went away")

    monkeypatch.setattr(retention, "_now", fail)
    with pytest.raises(CommandError, match="The database failed: it went away"):
        run("--days", "5")


def test_verifier_raises_no_alarm_while_events_leave(keys: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    make_old(*OLD, *OLD)
    monkeypatch.setattr(retention, "BATCH", 4)
    batches = retention.remove_expired(retention.cutoff(5))
    assert next(batches) == 4
    read = Scan.next_page

    def read_and_lose(scan: Scan) -> list[TrailRow]:
        page = read(scan)
        next(batches, None)
        return page

    monkeypatch.setattr(Scan, "next_page", read_and_lose)
    report = verify(keys)
    assert report.findings == []
    assert report.events + report.removed == 13


def test_event_that_is_put_back_where_it_was_removed_is_named(keys: KeyRing) -> None:
    make_old(*OLD)
    event = AuditEvent.objects.get(position=3)
    remove()
    event._state.adding = True
    event.save()
    assert [found.row_id for found in findings(keys)] == [event.pk]
