"""Whatever is done to a sealed trail is named; what was not touched is sound. On SQLite and on PostgreSQL."""

import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.db import connection, transaction
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from audit import chain, checkpointing, checkpoints, trail_rows, verification
from audit.checkpoints import payload_of, statement_in
from audit.findings import Finding, Report
from audit.keys import read_public_key
from audit.models import AuditEvent, State, TrailHead
from audit.statements import Checkpoint, KeyRing
from audit.verification import verify
from tests.audit.trails import checkpoint_now, make_trail, rewrite_links, rows, seal_all, shift, sql
from tests.factories import make_event, make_row

pytestmark = pytest.mark.django_db

often = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def first_finding(report: Report) -> Finding:
    assert report.findings, "nothing was found"
    return report.findings[0]


def undone() -> AbstractContextManager[Any]:
    """A transaction for one example, to be rolled back."""
    return transaction.atomic()


# A trail of 14 rows, with checkpoints at 5, 9 and 14.
LOTS = (4, 3, 4)
END = 14
CHECKPOINTS = (5, 9, 14)
DAY = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def trail(keys: KeyRing) -> None:
    make_trail(*LOTS)


def each(positions: Iterable[int]) -> Iterator[int]:
    """One position after the other, whatever is done at it being undone before the next."""
    for position in positions:
        with undone():
            yield position
            transaction.set_rollback(True)


def test_untouched_trail_is_sound(keys: KeyRing) -> None:
    make_trail(*LOTS)
    report = verify(keys)
    assert report.findings == []
    assert (report.events, report.last_position) == (END, END)
    assert (report.checkpoints, report.signed_checkpoints) == (3, 3)


def test_empty_trail_is_sound(keys: KeyRing) -> None:
    assert verify(keys).is_sound


@pytest.mark.usefixtures("forgetful")
@given(lots=st.lists(st.integers(0, 6), max_size=5), tail=st.integers(0, 3), page=st.integers(1, 5))
@often
def test_untouched_trail_of_any_history_is_sound(
    lots: list[int], tail: int, page: int, keys: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    assume(not lots or lots[0])
    monkeypatch.setattr(verification, "PAGE", page)
    with undone():
        make_trail(*lots)
        for _ in range(tail):
            make_row()
        if tail > 1:
            seal_all()
        report = verify(keys)
        assert report.findings == []
        assert report.events == AuditEvent.objects.exclude(position=None).count()
        transaction.set_rollback(True)


OTHER_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "event_id": st.uuids(),
    "occurred_at": st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    "action": st.sampled_from(["CASArtifactDownloaded", "OrgCreated", ""]),
    "org_id": st.one_of(st.none(), st.uuids()),
    "digest": st.text("0123456789abcdef", max_size=64),
    "size_bytes": st.integers(0, 2**62),
    "file_name": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    "backend": st.text("ab", max_size=5),
    "location": st.text("ab", max_size=5),
    "skipped": st.booleans(),
    "subject": st.text("ab", max_size=5),
    "payload": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=50),
}
changes = st.sampled_from(sorted(OTHER_VALUES)).flatmap(
    lambda column: st.tuples(st.just(column), OTHER_VALUES[column], st.integers(1, END))
)


def as_the_database_keeps_it(column: str, value: Any) -> Any:
    fields = {field.name: field for field in AuditEvent._meta.local_concrete_fields}
    return fields[column].get_db_prep_save(value, connection)


def change(column: str, value: Any, position: int) -> None:
    """Change one value of one row; skip the example when it is that already."""
    event = AuditEvent.objects.get(position=position)
    assume(getattr(event, column) != value)
    sql(
        f"UPDATE audit_auditevent SET {column} = %s WHERE position = %s",  # noqa: S608
        as_the_database_keeps_it(column, value),
        position,
    )


@given(made=changes)
@often
def test_altered_value_of_any_column_names_its_row(made: tuple[str, Any, int], trail: None, keys: KeyRing) -> None:
    with undone():
        change(*made)
        row = AuditEvent.objects.get(position=made[2])
        report = verify(keys)
        found = first_finding(report)
        assert (found.position, found.row_id, found.event_id) == (made[2], row.pk, str(row.event_id))
        assert "altered" in found.problem
        assert report.finding_count == 1
        transaction.set_rollback(True)


def test_columns_that_are_tried_are_all_that_are_sealed() -> None:
    assert set(OTHER_VALUES) == set(chain.FIELDS)


@given(made=changes)
@often
def test_altered_row_whose_link_fits_is_named_with_the_next(
    made: tuple[str, Any, int], trail: None, keys: KeyRing
) -> None:
    position = made[2]
    with undone():
        change(*made)
        row = rows()[position - 1]
        before = rows()[position - 2].link if position > 1 else chain.GENESIS
        assert before is not None
        sql("UPDATE audit_auditevent SET link = %s WHERE id = %s", chain.link_of(before, position, row.values), row.pk)
        found = first_finding(verify(keys))
        if position < END:
            # A checkpoint that follows has a link of its own in it, but fails already as a row.
            assert found.position == position + 1
            assert "altered, or the one before it" in found.problem
        else:
            assert found.position == END
        transaction.set_rollback(True)


@given(made=changes.filter(lambda made: made[2] < END and made[2] not in CHECKPOINTS))
@often
def test_rewritten_links_are_named_at_the_next_checkpoint(
    made: tuple[str, Any, int], trail: None, keys: KeyRing
) -> None:
    with undone():
        change(*made)
        rewrite_links(made[2])
        found = first_finding(verify(keys))
        checkpoint = min(place for place in CHECKPOINTS if place > made[2])
        since = max([place for place in CHECKPOINTS if place < made[2]], default=1)
        assert found.position == checkpoint
        assert f"positions {since} to {checkpoint - 1} were rewritten" in found.problem
        transaction.set_rollback(True)


def test_removed_row_is_named(trail: None, keys: KeyRing) -> None:
    for position in each(range(1, END + 1)):
        sql("DELETE FROM audit_auditevent WHERE position = %s", position)
        found = first_finding(verify(keys))
        assert (found.position, found.problem) == (position, "was removed")


@pytest.mark.parametrize(("first", "last"), [(1, 3), (4, 6), (9, 12), (12, 14), (1, 14)])
def test_removed_rows_are_named(first: int, last: int, keys: KeyRing) -> None:
    make_trail(*LOTS)
    sql("DELETE FROM audit_auditevent WHERE position BETWEEN %s AND %s", first, last)
    found = first_finding(verify(keys))
    assert (found.position, found.problem) == (first, f"was removed, and so were all up to position {last}")


def test_removed_row_whose_gap_is_closed_is_named_by_what_took_its_place(trail: None, keys: KeyRing) -> None:
    for position in each(range(1, END)):
        sql("DELETE FROM audit_auditevent WHERE position = %s", position)
        shift(position + 1, -1)
        assert first_finding(verify(keys)).position == position


def test_row_removed_together_with_all_that_tells_of_it_is_named_by_a_checkpoint(trail: None, keys: KeyRing) -> None:
    for position in each(range(1, END)):
        sql("DELETE FROM audit_auditevent WHERE position = %s", position)
        shift(position + 1, -1)
        rewrite_links(position)
        found = first_finding(verify(keys))
        assert found.position in {place - 1 for place in CHECKPOINTS if place > position}
        assert "checkpoint" in found.problem


def test_inserted_row_is_named(trail: None, keys: KeyRing) -> None:
    for position in each(range(1, END + 1)):
        shift(position, 1)
        forged = AuditEvent.of(make_event(file_name="forged"), State.PUBLISHED)
        forged.position, forged.link = position, b"1" * 32
        forged.save()
        found = first_finding(verify(keys))
        assert (found.position, found.row_id) == (position, forged.pk)


def test_inserted_row_that_fits_what_is_before_it_is_named_with_the_next(trail: None, keys: KeyRing) -> None:
    for position in each(range(1, END + 1)):
        before = rows()[position - 2].link if position > 1 else chain.GENESIS
        assert before is not None
        shift(position, 1)
        forged = AuditEvent.of(make_event(file_name="forged"), State.PUBLISHED)
        forged.position = position
        forged.link = chain.link_of(before, position, [getattr(forged, name) for name in chain.FIELDS])
        forged.save()
        assert first_finding(verify(keys)).position == position + 1


@given(one=st.integers(1, END), other=st.integers(1, END))
@often
def test_swapped_rows_are_named(one: int, other: int, trail: None, keys: KeyRing) -> None:
    assume(one != other)
    with undone():
        before = {row.position: row for row in rows()}
        for place, position, link in ((one, -1, None), (other, one, before[one].link), (-1, other, before[other].link)):
            sql("UPDATE audit_auditevent SET position = %s, link = %s WHERE position = %s", position, link, place)
        assert first_finding(verify(keys)).position == min(one, other)
        transaction.set_rollback(True)


def test_altered_link_is_named(trail: None, keys: KeyRing) -> None:
    for position in each(range(1, END + 1)):
        sql("UPDATE audit_auditevent SET link = %s WHERE position = %s", b"1" * 32, position)
        assert first_finding(verify(keys)).position == position


def test_link_that_is_gone_is_named(keys: KeyRing) -> None:
    make_trail(*LOTS)
    sql("UPDATE audit_auditevent SET link = NULL WHERE position = 3")
    assert str(first_finding(verify(keys))).endswith("its link is gone")


def test_tail_that_is_cut_is_named(trail: None, keys: KeyRing) -> None:
    for position in each(range(2, END + 1)):
        sql("DELETE FROM audit_auditevent WHERE position >= %s", position)
        assert first_finding(verify(keys)).position == position


def set_head_to_the_last_row() -> None:
    last = rows()[-1]
    sql("UPDATE audit_trailhead SET position = %s, link = %s", last.position, last.link)


def test_tail_that_is_cut_together_with_the_head_lacks_a_checkpoint(trail: None, keys: KeyRing) -> None:
    for position in each([2, 5, 6, 9, 10, 14]):
        sql("DELETE FROM audit_auditevent WHERE position >= %s", position)
        set_head_to_the_last_row()
        found = first_finding(verify(keys))
        assert (found.position, found.problem) == (
            position - 1,
            "checkpoint 3 should be the last in the trail, and is not",
        )


def test_head_that_is_set_back_is_named(keys: KeyRing) -> None:
    make_trail(*LOTS)
    sql("UPDATE audit_trailhead SET position = 7")
    assert "set back to position 7" in first_finding(verify(keys)).problem


def test_head_that_is_gone_is_named(keys: KeyRing) -> None:
    make_trail(*LOTS)
    sql("DELETE FROM audit_trailhead")
    assert not verify(keys).is_sound


def test_head_with_another_link_is_named(keys: KeyRing) -> None:
    make_trail(*LOTS)
    sql("UPDATE audit_trailhead SET link = %s", b"1" * 32)
    assert "head of the trail has another link" in first_finding(verify(keys)).problem


def test_trail_under_another_name_has_no_checkpoints(keys: KeyRing) -> None:
    make_trail(*LOTS)
    TrailHead.objects.update(trail_id=uuid.uuid4())
    report = verify(keys)
    assert report.checkpoints == 0
    assert not report.is_sound


def checkpoint_at(position: int) -> Checkpoint:
    statement = statement_in(AuditEvent.objects.get(position=position).payload)
    assert statement is not None
    return statement


def put_statement(position: int, statement: Checkpoint) -> None:
    """Let the row at a position be this checkpoint, and all links fit it."""
    sql(
        "UPDATE audit_auditevent SET action = %s, payload = %s WHERE position = %s",
        *(checkpoints.ACTION, payload_of(statement), position),
    )
    rewrite_links(position)


@pytest.mark.parametrize(
    ("forge", "problem"),
    [
        (lambda real: replace(real, link="00" * 32), "not what was signed"),
        (lambda real: replace(real, number=7), "not what was signed"),
        (lambda real: replace(real, time="2026-01-01T00:00:00Z"), "not what was signed"),
        (lambda real: replace(real, previous_time=""), "not what was signed"),
        (lambda real: replace(real, signature="AAAA"), "not what was signed"),
        (lambda real: replace(real, signature="é"), "not what was signed"),
        (lambda real: replace(real, key_id="0" * 16), "signed with a key that was not given"),
        (lambda real: replace(real, key_id="", signature=""), "not signed, and earlier ones are"),
        (lambda real: real.signed_with(Ed25519PrivateKey.generate()), "signed with a key that was not given"),
    ],
)
def test_forged_checkpoint_is_named(forge: Callable[[Checkpoint], Checkpoint], problem: str, keys: KeyRing) -> None:
    make_trail(*LOTS)
    put_statement(9, forge(checkpoint_at(9)))
    found = first_finding(verify(keys))
    assert found.position == 9
    assert problem in found.problem


def test_replayed_checkpoint_is_named(trail: None, keys: KeyRing) -> None:
    for position in each([7, 14]):
        put_statement(position, checkpoint_at(5))
        found = first_finding(verify(keys))
        assert found.position == position
        assert "moved or replayed: it belongs behind position 4" in found.problem


def test_checkpoint_that_is_gone_is_missed_by_the_next(keys: KeyRing, private_key: Ed25519PrivateKey) -> None:
    """Somebody removed one and had the rest signed anew, as a worker with a rewritten head would."""
    make_trail(*LOTS)
    put_statement(9, replace(checkpoint_at(9), trail_id=str(uuid.uuid4())))
    before = rows()[12]
    real = replace(checkpoint_at(14), link=(before.link or b"").hex())
    put_statement(14, real.signed_with(private_key))
    found = first_finding(verify(keys))
    assert (found.position, "this is checkpoint 3, and 2 should be next" in found.problem) == (14, True)


def test_checkpoint_of_another_trail_is_an_event_as_any(keys: KeyRing) -> None:
    make_trail(*LOTS)
    other = replace(checkpoint_at(5), trail_id=str(uuid.uuid4()))
    event = AuditEvent.of(make_event(), State.MIRRORED)
    event.action, event.payload, event.subject = checkpoints.ACTION, payload_of(other), checkpoints.SUBJECT
    event.save()
    seal_all()
    report = verify(keys)
    assert report.findings == []
    assert report.checkpoints == 3


def test_checkpoint_that_somebody_published_again_is_an_event_as_any(keys: KeyRing) -> None:
    make_trail(*LOTS)
    event = AuditEvent.of(make_event(), State.MIRRORED)
    event.action, event.subject = checkpoints.ACTION, checkpoints.SUBJECT
    event.payload = AuditEvent.objects.get(position=5).payload
    event.save()
    seal_all()
    assert verify(keys).findings == []


def test_checkpoint_that_is_made_to_look_mirrored_is_missed(trail: None, keys: KeyRing) -> None:
    for position in each(CHECKPOINTS):
        sql("UPDATE audit_auditevent SET state = 'mirrored' WHERE position = %s", position)
        assert not verify(keys).is_sound


def test_checkpoints_signed_with_an_earlier_key_hold(public_key: Path, settings: Any, tmp_path: Path) -> None:
    make_trail(2)
    earlier = read_public_key(public_key)
    key = Ed25519PrivateKey.generate()
    (tmp_path / "new.pem").write_bytes(private_pem(key))
    settings.CAS_CHECKPOINT_KEY = str(tmp_path / "new.pem")
    make_trail(2)
    assert verify(KeyRing([earlier, key.public_key()])).findings == []
    assert "key that was not given" in first_finding(verify(KeyRing([earlier]))).problem


def private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_without_a_key_a_trail_is_chained_and_not_signed(keys: KeyRing, settings: Any) -> None:
    settings.CAS_CHECKPOINT_KEY = ""
    make_trail(*LOTS)
    report = verify(KeyRing())
    assert report.findings == []
    assert (report.checkpoints, report.signed_checkpoints, report.signatures_checked) == (3, 0, False)


@pytest.mark.parametrize("start", [1, 2, 5, 6, 13, 14, 15])
def test_scan_may_start_anywhere(start: int, keys: KeyRing) -> None:
    make_trail(*LOTS)
    report = verify(keys, start)
    assert report.findings == []
    assert report.events == END - min(start, END) + 1


def test_scan_from_a_position_sees_what_is_behind_it(keys: KeyRing) -> None:
    make_trail(*LOTS)
    sql("UPDATE audit_auditevent SET file_name = 'forged' WHERE position IN (3, 11)")
    assert [found.position for found in verify(keys, 6).findings] == [11]
    assert [found.position for found in verify(keys).findings] == [3, 11]


@pytest.mark.parametrize("more", [0, 2])
def test_scan_behind_the_last_checkpoint_begins_with_it(more: int, keys: KeyRing) -> None:
    make_trail(*LOTS)
    for _ in range(more):
        make_row()
    seal_all()
    report = verify(keys, END + more + 1)
    assert report.findings == []
    assert (report.first_position, report.events) == (END, 1 + more)
    assert report.last_signed == checkpoint_at(END)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("UPDATE audit_auditevent SET payload = '{}' WHERE position = 14", "is not what was sealed here"),
        ("UPDATE audit_auditevent SET state = 'mirrored' WHERE position = 14", "checkpoint 3 should be the last"),
        ("UPDATE audit_trailhead SET checkpoint_position = 15", "checkpoint 3 should be the last"),
        ("UPDATE audit_trailhead SET checkpoint_position = 0", "checkpoint 3 should be the last"),
        ("UPDATE audit_trailhead SET checkpoint_number = 2", "checkpoint 2 should be the last"),
        ("UPDATE audit_trailhead SET position = 14", "set back to position 14"),
        ("DELETE FROM audit_trailhead", "set back to position 0"),
    ],
)
def test_last_checkpoint_that_is_not_where_the_head_says_is_missed(change: str, problem: str, keys: KeyRing) -> None:
    make_trail(*LOTS)
    make_row()
    seal_all()
    sql(change)
    assert problem in first_finding(verify(keys, END + 2)).problem


@pytest.mark.parametrize("position", [9, 12])
def test_head_that_names_an_earlier_checkpoint_makes_the_scan_longer(position: int, keys: KeyRing) -> None:
    make_trail(*LOTS)
    sql("UPDATE audit_trailhead SET checkpoint_position = %s", position)
    report = verify(keys, END + 1)
    assert (report.findings, report.first_position) == ([], position)
    assert report.last_signed == checkpoint_at(END)


def test_scan_behind_a_tail_that_was_cut_with_the_head_is_told(keys: KeyRing) -> None:
    make_trail(*LOTS)
    make_row()
    seal_all()
    sql("DELETE FROM audit_auditevent WHERE position > 14")
    set_head_to_the_last_row()
    assert "set back to position 14" in first_finding(verify(keys, END + 2)).problem


def test_row_before_the_first_position_is_named(keys: KeyRing) -> None:
    make_trail(*LOTS)
    forged = AuditEvent.of(make_event(), State.PUBLISHED)
    forged.position = 0
    forged.save()
    assert [found.row_id for found in verify(keys).findings] == [forged.pk]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite keeps a position that is no number")
@pytest.mark.parametrize("position", ["x", 3.5])
def test_position_that_is_no_number_is_named(position: Any, keys: KeyRing) -> None:
    make_trail(*LOTS)
    sql("UPDATE audit_auditevent SET position = %s WHERE position = 3", position)
    problems = [found.problem for found in verify(keys).findings]
    assert {"was removed", "its position is no number"} <= set(problems)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite keeps what is no time in a column of times")
@pytest.mark.parametrize("value", ["", "2026-13-45 00:00:00", "x", 7, b"x"])
def test_time_that_is_none_is_named(value: Any, keys: KeyRing) -> None:
    make_trail(*LOTS)
    sql("UPDATE audit_auditevent SET occurred_at = %s WHERE position = 3", value)
    assert [found.position for found in verify(keys).findings] == [3]


@pytest.mark.skipif(
    connection.vendor != "sqlite", reason="only SQLite keeps any number for yes and no, and any bytes as text"
)
@pytest.mark.parametrize(
    "change",
    ["skipped = 2", "skipped = -1", "payload = CAST(x'ff7b7d' AS TEXT)", "event_id = CAST(x'ff' AS TEXT)"],
)
def test_value_that_the_driver_would_hide_or_raise_at_is_named_on_sqlite(change: str, keys: KeyRing) -> None:
    make_trail(*LOTS)
    sql(f"UPDATE audit_auditevent SET {change} WHERE position = 3")  # noqa: S608  (our own)
    findings = verify(keys).findings
    assert [found.position for found in findings] == [3]
    assert "".join(map(str, findings)).encode()  # it can be printed


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL keeps times that Python does not have")
@pytest.mark.parametrize("value", ["infinity", "-infinity", "0044-03-15 12:00:00 BC", "12026-01-01"])
def test_time_that_python_does_not_have_is_named_on_postgresql(value: str, keys: KeyRing) -> None:
    make_trail(*LOTS)
    sql("UPDATE audit_auditevent SET occurred_at = %s WHERE position = 3", value)
    assert [found.position for found in verify(keys).findings] == [3]


@pytest.mark.parametrize(
    "time", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)]
)
def test_first_and_last_time_that_python_has_are_sealed_as_they_are(time: datetime, keys: KeyRing) -> None:
    """The first is Go's for none, which others' events may have."""
    row = AuditEvent.of(make_event(), State.MIRRORED)
    row.occurred_at = time
    row.save()
    seal_all()
    row.refresh_from_db()
    (found,) = trail_rows.read("id = %s", [row.pk])
    assert (found["occurred_at"], row.occurred_at) == (time, time)
    assert verify(keys).findings == []


def test_events_that_come_meanwhile_are_no_finding(keys: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    make_trail(*LOTS)
    monkeypatch.setattr(verification, "PAGE", 3)
    left = [2, 1, 3]

    def grow(_: int) -> None:
        if left:
            make_trail(left.pop())

    report = verify(keys, tell=grow)
    assert report.findings == []
    assert report.last_position == END + 9


def test_checkpoint_is_an_event_as_any_other(keys: KeyRing) -> None:
    make_trail(1)
    event = AuditEvent.objects.get(action="CASTrailCheckpointed")
    assert (event.subject, event.org_id, event.state) == ("audit.castrail.castrailcheckpointed", None, State.LOCAL)
    payload = json.loads(event.payload)
    trail_id = str(TrailHead.objects.get().trail_id)
    assert payload["EventType"] == "AUDIT_EVENT"
    assert datetime.fromisoformat(payload["Timestamp"]) == event.occurred_at
    assert list(payload["Data"]) == [
        *("ActionType", "TargetType", "TargetID", "ActorType", "ActorID", "ActorEmail", "ActorName", "OrgID"),
        *("Description", "Info", "Digest"),
    ]
    assert payload["Data"]["TargetID"] == trail_id
    info = payload["Data"]["Info"]
    assert list(info) == [*("trail_id", "number", "time", "position", "link", "previous_time", "key_id", "signature")]
    link = AuditEvent.objects.get(position=1).link
    assert link is not None
    assert (info["trail_id"], info["number"], info["position"]) == (trail_id, 1, 1)
    assert info["link"] == bytes(link).hex()


def test_checkpoint_names_the_time_of_the_one_before(keys: KeyRing) -> None:
    make_trail(1, 1)
    first, second = checkpoint_at(2), checkpoint_at(4)
    assert (first.previous_time, second.number) == ("", 2)
    assert second.previous_time == first.time


def test_checkpoint_waits_for_its_interval(keys: KeyRing, settings: Any) -> None:
    make_trail(1)
    make_row()
    seal_all()
    assert checkpointing.checkpoint_if_due() is None
    settings.CAS_CHECKPOINT_SECONDS = 1e-6
    assert checkpointing.checkpoint_if_due() is not None


def test_idle_trail_has_one_an_hour(keys: KeyRing, settings: Any) -> None:
    settings.CAS_CHECKPOINT_SECONDS = 1e-6
    make_trail(1)
    assert checkpointing.checkpoint_if_due() is None
    checkpoint_now()
    assert verify(keys).findings == []


def test_trail_without_events_has_none(keys: KeyRing) -> None:
    seal_all()
    assert checkpointing.checkpoint_if_due() is None
    TrailHead.objects.create(pk=1)
    assert checkpointing.checkpoint_if_due() is None


def test_clock_that_was_set_back_does_not_stop_checkpoints(keys: KeyRing) -> None:
    make_trail(1)
    TrailHead.objects.update(checkpointed_at=datetime(2100, 1, 1, tzinfo=UTC))
    assert checkpointing.checkpoint_if_due() is not None


def test_new_checkpoint_waits_to_be_published(keys: KeyRing, settings: Any) -> None:
    settings.NATS_URL = "nats://localhost:4222"
    make_trail(1)
    assert AuditEvent.objects.get(action=checkpoints.ACTION).state == State.PENDING


@pytest.mark.usefixtures("forgetful")
def test_checkpoint_whose_row_has_another_time_is_named(keys: KeyRing) -> None:
    make_trail(2)
    sql(
        "UPDATE audit_auditevent SET occurred_at = %s WHERE position = 3", connection.ops.adapt_datetimefield_value(DAY)
    )
    rewrite_links(3)
    make_trail(1)
    found = first_finding(verify(keys))
    assert (found.position, found.problem.endswith("and its row has another time")) == (3, True)
