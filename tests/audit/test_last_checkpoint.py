"""What does not lead on from the checkpoint that was seen last is not signed, and time tells."""

import io
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from audit import chain, checkpointing, freshness, last_checkpoint, metrics, removals, sealing, verification
from audit import keys as keys_of_files
from audit.chain_reading import Moved
from audit.checkpoints import ACTION, SUBJECT, payload_of, statement_in
from audit.last_checkpoint import LostCheckpointError
from audit.models import AuditEvent, RemovedEvents, State, TrailHead
from audit.statements import Checkpoint, KeyRing, go_time
from audit.upkeep_tasks import seal, seal_if_late
from tests.audit.trails import (
    checkpoint_now,
    cut,
    days_later,
    make_trail,
    remove,
    rewrite_links,
    rows,
    seal_all,
    set_head_back,
    sql,
    verify,
)
from tests.factories import make_event, make_row

pytestmark = pytest.mark.django_db


def kept() -> tuple[int, int]:
    """The number and the position of the checkpoint in the file."""
    statement = statement_in(last_checkpoint._file().read_text())
    assert statement is not None
    return statement.number, statement.position


def refused() -> float:
    return metrics.CHECKPOINTS_REFUSED.read()[()][0]


# A trail of 6 rows, with checkpoints at 3 and 6, the second of which is kept; and what somebody does who wants the
# server to sign another.


def cut_the_end() -> None:
    cut(4)


def cut_the_checkpoint_alone() -> None:
    cut(6)


def cut_and_leave_the_checkpoint() -> None:
    sql("DELETE FROM audit_auditevent WHERE position IN (4, 5)")
    set_head_back(3)


def cut_and_leave_the_head() -> None:
    sql("DELETE FROM audit_auditevent WHERE position = 6")


def note(**values: Any) -> RemovedEvents:
    link = AuditEvent.objects.get(position=3).link
    now = timezone.now()
    later = now + timedelta(days=9000)
    place = {"first_position": 4, "last_position": 6, "previous_link": link, "link": link}
    return RemovedEvents(**{**place, "removed_at": now, "expired_before": later, **values})


def cut_and_say_that_retention_did() -> None:
    cut_the_end()
    note().save()


def replace_the_end_by_a_note() -> None:
    sql("DELETE FROM audit_auditevent WHERE position > 3")
    made = note(checkpoint_number=2)
    made.save()
    TrailHead.objects.update(link=made.link)


def replace_the_end_by_a_note_of_a_fork() -> None:
    """Signed by the server, as in a copy of the database that went on: what it says had not expired there."""
    sql("DELETE FROM audit_auditevent WHERE position > 3")
    made, head = note(checkpoint_number=2, expired_before=timezone.now() - timedelta(days=1)), TrailHead.objects.get()
    key = keys_of_files.signing_key()
    assert key is not None
    removals.sign(head.trail_id, made, key)
    made.save()
    TrailHead.objects.update(link=made.link)


def cut_and_sign_with_another_key_that_retention_did() -> None:
    cut_the_end()
    made = note(checkpoint_number=2)
    removals.sign(TrailHead.objects.get().trail_id, made, Ed25519PrivateKey.generate())
    made.save()


def rewrite_all() -> None:
    sql("UPDATE audit_auditevent SET file_name = 'forged' WHERE position = 5")
    rewrite_links(5)


def set_another_position() -> None:
    TrailHead.objects.update(position=9)


def set_another_link() -> None:
    TrailHead.objects.update(link=b"x" * 32)


def set_another_link_and_number() -> None:
    TrailHead.objects.update(link=b"x" * 32, checkpoint_number=0)


def set_the_number_back() -> None:
    TrailHead.objects.update(checkpoint_number=1)


def set_the_number_ahead() -> None:
    TrailHead.objects.update(checkpoint_number=99)


def say_that_an_earlier_one_was_the_last() -> None:
    TrailHead.objects.update(checkpoint_number=99, checkpoint_position=3)


def disguise_the_checkpoint() -> None:
    sql("UPDATE audit_auditevent SET state = 'mirrored' WHERE position = 6")


def replace_the_checkpoint() -> None:
    earlier = AuditEvent.objects.get(position=3).payload
    sql("UPDATE audit_auditevent SET payload = %s WHERE position = 6", earlier)
    rewrite_links(6)


def date_the_checkpoint_back() -> None:
    earlier = connection.ops.adapt_datetimefield_value(timezone.now() - timedelta(days=9))
    sql("UPDATE audit_auditevent SET occurred_at = %s WHERE position = 6", earlier)
    rewrite_links(6)


def alter_what_came_since() -> None:
    add_event()
    sql("UPDATE audit_auditevent SET file_name = 'forged' WHERE position = 7")


def remove_what_came_since() -> None:
    add_event()
    add_event()
    sql("DELETE FROM audit_auditevent WHERE position = 7")


UNSIGNED = {"key_id": "", "signature": ""}


def insert_checkpoint(**changes: Any) -> None:
    """As the server does, but for what changes."""
    head, last = TrailHead.objects.get(), statement_in(AuditEvent.objects.get(position=6).payload)
    assert last is not None
    row = AuditEvent.of(make_event(), State.PUBLISHED)
    row.occurred_at = timezone.now()
    own = {"number": 3, "position": 6, "link": bytes(head.link).hex(), "time": go_time(row.occurred_at)}
    values = {**last.info(), **own, **changes}
    row.action, row.subject, row.payload = ACTION, SUBJECT, payload_of(Checkpoint(**values))
    row.save()
    seal_all()
    TrailHead.objects.update(checkpoint_number=values["number"], checkpoint_position=7)


def insert_a_checkpoint_out_of_turn() -> None:
    insert_checkpoint(number=4, **UNSIGNED)


def insert_a_checkpoint_of_another_place() -> None:
    insert_checkpoint(position=5, **UNSIGNED)


def insert_a_checkpoint_of_another_time() -> None:
    insert_checkpoint(time="2026-01-01T00:00:00Z", **UNSIGNED)


def insert_a_checkpoint_that_was_not_signed_so() -> None:
    insert_checkpoint()


def insert_a_checkpoint_over_another_link() -> None:
    insert_checkpoint(link="00" * 32, **UNSIGNED)


def say_that_retention_removed_what_came_since() -> None:
    add_event()
    link = AuditEvent.objects.get(position=7).link
    sql("DELETE FROM audit_auditevent WHERE position = 7")
    previous = AuditEvent.objects.get(position=6).link
    note(first_position=7, last_position=7, previous_link=previous, link=link, checkpoint_number=2).save()


def replace_all() -> None:
    sql("DELETE FROM audit_auditevent")
    sql("DELETE FROM audit_trailhead")
    add_event()


def remove_all() -> None:
    sql("DELETE FROM audit_auditevent")
    sql("DELETE FROM audit_trailhead")


def add_event() -> None:
    make_row(State.PUBLISHED)
    seal_all()


ATTACKS: list[Callable[[], None]] = [
    cut_the_end,
    cut_the_checkpoint_alone,
    cut_and_leave_the_checkpoint,
    cut_and_leave_the_head,
    cut_and_say_that_retention_did,
    replace_the_end_by_a_note,
    replace_the_end_by_a_note_of_a_fork,
    cut_and_sign_with_another_key_that_retention_did,
    rewrite_all,
    set_another_position,
    set_another_link,
    set_another_link_and_number,
    set_the_number_back,
    set_the_number_ahead,
    say_that_an_earlier_one_was_the_last,
    disguise_the_checkpoint,
    replace_the_checkpoint,
    date_the_checkpoint_back,
    alter_what_came_since,
    remove_what_came_since,
    insert_a_checkpoint_out_of_turn,
    insert_a_checkpoint_of_another_place,
    insert_a_checkpoint_of_another_time,
    insert_a_checkpoint_that_was_not_signed_so,
    insert_a_checkpoint_over_another_link,
    say_that_retention_removed_what_came_since,
    replace_all,
    remove_all,
]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("goes_on", [False, True])
def test_trail_that_does_not_lead_on_from_the_last_is_not_signed(
    attack: Callable[[], None], goes_on: bool, keys: KeyRing, settings: Any
) -> None:
    settings.CAS_CHECKPOINT_SECONDS = 1e-6
    make_trail(2, 2)
    attack()
    if goes_on:
        add_event()
    number = TrailHead.objects.values_list("checkpoint_number", flat=True).first()
    TrailHead.objects.update(checkpointed_at=None)  # it is due
    with pytest.raises(LostCheckpointError, match=r"checkpoint 2 of .*, the last that was seen, "):
        checkpointing.checkpoint_if_due()
    assert kept() == (2, 5)
    assert TrailHead.objects.values_list("checkpoint_number", flat=True).first() == number


@pytest.mark.parametrize("attack", [attack for attack in ATTACKS if attack is not remove_all])
def test_trail_that_is_changed_while_the_server_waits_to_write_is_not_signed(
    attack: Callable[[], None], keys: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trail(2, 2)
    add_event()

    def attack_meanwhile() -> None:
        sql("DELETE FROM audit_auditevent WHERE position = 7")
        set_head_back(6, 2)
        attack()

    before_the_lock(attack_meanwhile, monkeypatch)
    with pytest.raises(LostCheckpointError):
        checkpoint_now()
    assert kept() == (2, 5)


@pytest.mark.parametrize(
    "attack",
    [
        cut_the_end,
        cut_and_leave_the_head,
        cut_and_leave_the_checkpoint,
        replace_the_checkpoint,
        disguise_the_checkpoint,
        date_the_checkpoint_back,
    ],
)
def test_cut_is_told_though_the_head_says_that_nothing_is_due(attack: Callable[[], None], keys: KeyRing) -> None:
    make_trail(2, 2)
    attack()
    TrailHead.objects.update(checkpoint_number=2, checkpointed_at=timezone.now())
    with pytest.raises(LostCheckpointError):
        checkpointing.checkpoint_if_due()


@pytest.mark.parametrize("attack", [set_the_number_ahead, set_the_number_back, say_that_an_earlier_one_was_the_last])
def test_head_that_says_that_another_was_the_last_is_told_at_once(attack: Callable[[], None], keys: KeyRing) -> None:
    make_trail(2, 2)
    attack()
    with pytest.raises(LostCheckpointError):
        checkpointing.checkpoint_if_due()


def test_head_that_says_it_was_just_now_does_not_stop_checkpoints(
    keys: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trail(2)
    assert checkpointing.checkpoint_if_due() is None
    later = timezone.now() + timedelta(hours=2)
    monkeypatch.setattr(timezone, "now", lambda: later)
    TrailHead.objects.update(checkpointed_at=later)
    assert checkpointing.checkpoint_if_due() is not None


@pytest.mark.parametrize("key_id", ["", "0123456789abcdef"])
def test_checkpoint_that_anybody_can_write_is_not_kept(key_id: str, keys: KeyRing) -> None:
    """Else it would be missed when it is taken away again, for ever."""
    make_trail(2, 2)
    before = TrailHead.objects.get()
    insert_checkpoint(**({"key_id": key_id} if key_id else UNSIGNED))
    checkpointing.checkpoint_if_due()
    assert kept() == (2, 5)
    sql("DELETE FROM audit_auditevent WHERE position = 7")
    before.save()
    last_checkpoint._Progress.kept = None  # of another process, or after a restart
    make_trail(1)
    assert kept() == (3, 7)
    assert verification.verify(keys).is_sound


def test_only_one_of_two_that_are_about_to_writes(
    keys: KeyRing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trail(2)
    add_event()
    TrailHead.objects.update(checkpointed_at=None)

    def write_elsewhere() -> None:
        with another_machine(tmp_path, monkeypatch):
            assert checkpointing.checkpoint_if_due() is not None

    before_the_lock(write_elsewhere, monkeypatch)
    assert checkpointing.checkpoint_if_due() is None
    assert checkpointing.checkpoint_if_due() is None
    assert kept() == (2, 4)
    assert verification.verify(keys).is_sound


def test_long_way_takes_several_runs(keys: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    make_trail(1)
    for _ in range(5):
        add_event()
    TrailHead.objects.update(checkpointed_at=None)
    monkeypatch.setattr(last_checkpoint, "SECONDS", 0)
    reached = []
    while (event := checkpointing.checkpoint_if_due()) is None:
        reached.append(last_checkpoint._Progress.reached.position)
    assert reached == [2, 3, 4, 5, 6]
    assert event.position == 8
    assert verification.verify(keys).is_sound


def test_end_that_is_cut_during_a_long_way_is_told(keys: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    make_trail(2, 2)
    for _ in range(3):
        add_event()
    TrailHead.objects.update(checkpointed_at=None)
    monkeypatch.setattr(last_checkpoint, "SECONDS", 0)
    for _ in range(3):
        assert checkpointing.checkpoint_if_due() is None
    assert last_checkpoint._Progress.reached.position == 8
    sql("DELETE FROM audit_auditevent WHERE position > 6")
    set_head_back(6, 2)
    with pytest.raises(LostCheckpointError):
        checkpointing.checkpoint_if_due()


def before_the_lock(act: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have something done when the server next waits for the head's lock."""
    locked = TrailHead.locked

    def act_first() -> TrailHead:
        monkeypatch.setattr(TrailHead, "locked", locked)
        act()
        return locked()

    monkeypatch.setattr(TrailHead, "locked", act_first)


def test_what_is_sealed_while_the_server_waits_to_write_is_signed(
    keys: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trail(2, 2)
    before_the_lock(add_event, monkeypatch)
    checkpoint_now()
    assert kept() == (3, 7)
    assert verification.verify(keys).is_sound


def test_what_was_signed_last_is_kept(keys: KeyRing) -> None:
    make_trail(2)
    assert kept() == (1, 2)
    make_trail(1)
    assert kept() == (2, 4)
    assert last_checkpoint._file().stat().st_mode & 0o777 == 0o600
    assert [path.name for path in last_checkpoint._file().parent.glob("last-*")] == ["last-checkpoint.json"]


def test_trail_that_took_the_place_of_another_is_told(keys: KeyRing) -> None:
    make_trail(2)
    replace_all()
    with pytest.raises(LostCheckpointError, match="is of another trail"):
        checkpointing.checkpoint_if_due()


def test_note_that_was_signed_leads_on_from_what_was_before_it(keys: KeyRing, public_key: Path) -> None:
    make_trail(2, 2)
    add_event()
    say_that_retention_removed_what_came_since()
    made, head = RemovedEvents.objects.get(), TrailHead.objects.get()
    key = keys_of_files.signing_key()
    assert key is not None
    true = made.previous_link
    made.previous_link = b"x" * 32
    removals.sign(head.trail_id, made, key)
    made.save()
    with pytest.raises(LostCheckpointError):
        checkpoint_now()
    made.previous_link = true
    removals.sign(head.trail_id, made, key)
    made.save()
    checkpoint_now()


def test_age_names_the_cut_to_who_has_the_database_and_a_public_key(
    keys: KeyRing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_trail(2, 2)
    cut_the_end()
    before = refused()
    now = timezone.now() + timedelta(hours=3)
    monkeypatch.setattr(timezone, "now", lambda: now)
    seal()
    seal()
    assert [(record.levelno, record.getMessage().partition(":")[0]) for record in caplog.records] == [
        (logging.CRITICAL, "No checkpoint is written")
    ]
    assert refused() == before + 2
    report = verification.verify(keys)
    freshness.add_to(report)
    assert [finding.position for finding in report.findings] == [3]
    assert "the end of the trail was cut off" in report.findings[0].problem
    caplog.clear()
    last_checkpoint._file().rename(last_checkpoint._file().with_suffix(".away"))
    seal()
    assert [record.getMessage() for record in caplog.records] == ["Checkpoints are written again"]


def test_worker_that_seals_late_tells_as_well(
    keys: KeyRing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_trail(2, 2)
    cut_the_end()
    monkeypatch.setattr(sealing, "is_late", lambda: True)
    seal_if_late()
    assert "No checkpoint is written: checkpoint 2 of" in caplog.text


def test_file_is_a_witness_at_once(public_key: Path) -> None:
    make_trail(2, 2)
    witness = ("--checkpoint", last_checkpoint._file())
    assert verify("--public-key", public_key, *witness)[0] == 0
    cut_the_end()
    assert verify("--public-key", public_key)[0] == 0
    status, text = verify("--public-key", public_key, *witness)
    assert status == 1
    assert "is not in the trail: its end was cut off" in text


def test_restored_trail_is_signed_once_the_file_is_moved_away(keys: KeyRing) -> None:
    make_trail(2, 2)
    cut_the_end()
    with pytest.raises(LostCheckpointError) as error:
        checkpoint_now()
    path = last_checkpoint._file()
    assert str(error.value).endswith(
        f" See verify_trail --checkpoint {path}. If a backup was put back on purpose, move that file away."
    )
    path.rename(path.with_suffix(".away"))
    make_trail(1)
    assert verification.verify(keys).is_sound
    assert kept() == (2, 4)


@contextmanager
def another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(last_checkpoint, "_file", lambda: tmp_path / "other")
        yield


def test_each_machine_follows_what_others_sign(keys: KeyRing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_trail(2)
    with another_machine(tmp_path, monkeypatch):
        make_trail(2, 3)
        assert kept() == (3, 9)
    assert kept() == (1, 2)
    assert checkpointing.checkpoint_if_due() is None
    assert kept() == (3, 9)
    make_trail(1)
    with another_machine(tmp_path, monkeypatch):
        assert checkpointing.checkpoint_if_due() is None
        assert kept() == (4, 11)
    assert verification.verify(keys).is_sound


def test_machine_need_not_know_the_key_of_another(
    keys: KeyRing, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trail(2)
    own = settings.CAS_CHECKPOINT_KEY
    with another_machine(tmp_path, monkeypatch):
        call_command("make_checkpoint_key", str(tmp_path / "new"), stdout=io.StringIO(), stderr=io.StringIO())
        for settings.CAS_CHECKPOINT_KEY in (str(tmp_path / "new" / "checkpoint-private.pem"), ""):
            make_trail(1)
    settings.CAS_CHECKPOINT_KEY = own
    make_trail(1)
    assert kept()[0] == 4


def test_upgraded_machine_begins_with_the_last_of_the_trail(keys: KeyRing) -> None:
    make_trail(2, 2)
    last_checkpoint._file().unlink()
    assert checkpointing.checkpoint_if_due() is None
    assert kept() == (2, 5)


@pytest.mark.parametrize("changes", [{"number": 9}, {"position": 9}, {"position": 10**30}, {"time": "x"}, UNSIGNED])
def test_what_is_no_last_checkpoint_is_not_begun_with(changes: dict[str, Any], keys: KeyRing, settings: Any) -> None:
    if changes != UNSIGNED:
        settings.CAS_CHECKPOINT_KEY = ""  # whose signature is missed anyway
    make_trail(2)
    last_checkpoint._file().unlink()
    last = statement_in(AuditEvent.objects.get(position=3).payload)
    assert last is not None
    forged = payload_of(Checkpoint(**{**last.info(), **changes}))
    sql("UPDATE audit_auditevent SET payload = %s WHERE position = 3", forged)
    assert checkpointing.checkpoint_if_due() is None
    assert not last_checkpoint._file().exists()


@pytest.mark.usefixtures("no_pause")
@pytest.mark.parametrize("is_signed", [True, False])
def test_checkpoint_that_retention_removed_is_not_lost(
    is_signed: bool, public_key: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CAS_CHECKPOINT_KEY = settings.CAS_CHECKPOINT_KEY if is_signed else ""
    make_trail(2)
    of_a_machine_that_went_off = last_checkpoint._file().read_text()
    days_later(monkeypatch, 7)
    make_trail(1)
    assert remove() == 4
    make_trail(1)
    last_checkpoint._file().write_text(of_a_machine_that_went_off)
    checkpointing.checkpoint_if_due()
    assert kept() >= (3, 6)


@pytest.mark.usefixtures("no_pause")
def test_what_retention_removed_since_is_no_gap(keys: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    make_trail(2)
    days_later(monkeypatch, 7)
    make_row(State.PENDING)  # which stays
    checkpoint_now()
    before = last_checkpoint._file().read_text()
    make_trail(2, 1)
    days_later(monkeypatch, 20)
    remove()
    last_checkpoint._file().write_text(before)
    make_trail(1)
    assert verification.verify(keys).is_sound


def test_retention_that_goes_on_meanwhile_is_read_again(keys: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    make_trail(2, 2)
    add_event()
    walk, tries = last_checkpoint._walk, []

    def move_once(*arguments: Any) -> Any:
        tries.append(arguments)
        if len(tries) == 1:
            raise Moved
        return walk(*arguments)

    monkeypatch.setattr(last_checkpoint, "_walk", move_once)
    checkpoint_now()
    assert kept() == (3, 7)


def test_retention_that_comes_between_walk_and_lock_is_no_tampering(
    keys: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trail(2, 2)
    add_event()
    TrailHead.objects.update(checkpointed_at=None)
    walk = last_checkpoint._walk

    def move(reached: Any, head: TrailHead, deadline: float) -> Any:
        if deadline == math.inf:
            raise Moved
        return walk(reached, head, deadline)

    with monkeypatch.context() as patch:
        patch.setattr(last_checkpoint, "_walk", move)
        assert checkpointing.checkpoint_if_due() is None
    assert checkpointing.checkpoint_if_due() is not None


def test_events_within_what_retention_removed_are_told(keys: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    make_trail(2, 2)
    add_event()
    head = TrailHead.objects.get()
    note(first_position=6, last_position=7, previous_link=AuditEvent.objects.get(position=5).link).save()
    assert head.position == 7
    with pytest.raises(LostCheckpointError):
        checkpoint_now()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '"text"', "[" * 100_000, b"\xff"])
def test_file_that_is_no_checkpoint_is_told(content: str | bytes, keys: KeyRing) -> None:
    make_trail(1)
    last_checkpoint._file().write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LostCheckpointError, match=r"holds no checkpoint|cannot be read"):
        checkpointing.checkpoint_if_due()


def test_file_that_cannot_be_read_is_told(keys: KeyRing) -> None:
    make_trail(1)
    last_checkpoint._file().unlink()
    last_checkpoint._file().mkdir()
    with pytest.raises(LostCheckpointError, match="cannot be read"):
        checkpointing.checkpoint_if_due()


def test_time_that_python_does_not_have_is_told(keys: KeyRing) -> None:
    make_trail(2, 2)
    say_that_retention_removed_what_came_since()
    time = "infinity" if connection.vendor == "postgresql" else "x"
    sql("UPDATE audit_removedevents SET removed_at = %s", time)
    TrailHead.objects.update(checkpointed_at=None)
    with pytest.raises(LostCheckpointError):
        checkpointing.checkpoint_if_due()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite keeps text in a column of bytes")
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_trailhead SET link = 'x'",
        "UPDATE audit_auditevent SET link = 'x' WHERE position = 7",
        "INSERT INTO audit_removedevents"
        " (first_position, last_position, previous_link, link, removed_at, key_id, signature)"
        " VALUES (8, 8, 'x', 'x', '2026-01-01', '', '')",
    ],
)
def test_value_of_no_kind_is_told(change: str, keys: KeyRing) -> None:
    make_trail(2, 2)
    add_event()
    add_event()
    sql("DELETE FROM audit_auditevent WHERE position = 8")
    sql(change)
    TrailHead.objects.update(checkpointed_at=None)
    with pytest.raises(LostCheckpointError):
        checkpointing.checkpoint_if_due()


def test_disk_that_keeps_nothing_does_not_stop_checkpoints(
    keys: KeyRing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_trail(1)

    def fill_disk(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(last_checkpoint, "write_whole", fill_disk)
        checkpoint_now()
        checkpointing.checkpoint_if_due()
    assert caplog.text.count("No space left on device") == 1
    assert kept() == (1, 1)
    checkpointing.checkpoint_if_due()
    assert kept() == (2, 2)


def test_age_of_the_last_is_told(keys: KeyRing) -> None:
    assert checkpointing.age() is None
    add_event()
    assert checkpointing.age() is None
    checkpoint_now()
    assert checkpointing.age() == pytest.approx(0, abs=60)
    TrailHead.objects.update(checkpointed_at=timezone.now() + timedelta(days=9))
    assert checkpointing.age() == pytest.approx(9 * 86400, abs=60)


def test_chain_is_computed_not_believed(keys: KeyRing) -> None:
    """Links behind the last checkpoint that do not fit their events."""
    make_trail(2, 2)
    add_event()
    row = rows()[-1]
    assert row.link == chain.link_of(rows()[-2].link or b"", 7, row.values)
    sql("UPDATE audit_auditevent SET link = %s WHERE position = 7", b"y" * 32)
    TrailHead.objects.update(link=b"y" * 32)
    with pytest.raises(LostCheckpointError, match="position 7 is not as it was sealed"):
        checkpoint_now()
