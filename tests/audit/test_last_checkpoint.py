"""A chain that has lost the checkpoint that was seen last is not signed, and time tells."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from audit import checkpointing, freshness, last_checkpoint, verification
from audit.checkpoints import payload_of, statement_in
from audit.last_checkpoint import LostCheckpointError
from audit.models import AuditEvent, TrailHead
from audit.statements import KeyRing
from audit.upkeep_tasks import seal
from tests.audit.trails import checkpoint_now, days_later, make_trail, remove, rewrite_links, sql

pytestmark = pytest.mark.django_db


def kept() -> Any:
    """The number and the position of the checkpoint in the file."""
    info = json.loads(last_checkpoint._file().read_text())
    return info["number"], info["position"]


def cut(position: int) -> None:
    """Remove the tail behind the first checkpoint, and all in the database that tells of it."""
    sql("DELETE FROM audit_auditevent WHERE position >= %s", position)
    last = AuditEvent.objects.get(position=position - 1)
    TrailHead.objects.update(position=position - 1, link=last.link, checkpoint_number=1, checkpoint_position=3)


@contextmanager
def another_machine(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(last_checkpoint, "_file", lambda: tmp_path / name)
        yield


def test_what_was_signed_last_is_kept(keys: KeyRing) -> None:
    make_trail(2)
    assert kept() == (1, 2)
    make_trail(1)
    assert kept() == (2, 4)
    assert last_checkpoint._file().stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("is_signed", [True, False])
@pytest.mark.parametrize("position", [4, 5, 6])
def test_trail_whose_tail_was_cut_is_not_signed_again(
    position: int, is_signed: bool, public_key: Path, settings: Any
) -> None:
    settings.CAS_CHECKPOINT_KEY = settings.CAS_CHECKPOINT_KEY if is_signed else ""
    make_trail(2, 2)
    cut(position)
    with pytest.raises(LostCheckpointError, match=r"Checkpoint 2 of .*, which was in the trail, is not in the trail"):
        make_trail(2)


def test_age_names_the_cut_to_who_has_the_database_and_a_public_key(
    keys: KeyRing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_trail(2, 2)
    cut(5)
    now = timezone.now() + timedelta(hours=3)
    monkeypatch.setattr(timezone, "now", lambda: now)
    seal()
    assert [(record.levelno, record.getMessage().partition(":")[0]) for record in caplog.records] == [
        (logging.CRITICAL, "No checkpoint is written, for the trail was changed behind the server's back")
    ]
    report = verification.verify(keys)
    freshness.add_to(report)
    assert [finding.position for finding in report.findings] == [3]
    assert "the end of the trail was cut off" in report.findings[0].problem


def test_head_that_was_left_as_it_was_hides_nothing(keys: KeyRing) -> None:
    make_trail(2, 2)
    sql("DELETE FROM audit_auditevent WHERE position = 6")
    with pytest.raises(LostCheckpointError):
        checkpointing.checkpoint_if_due()


def test_trail_that_was_rewritten_before_the_checkpoint_is_not_signed(keys: KeyRing) -> None:
    make_trail(2, 2)
    sql("UPDATE audit_auditevent SET file_name = 'forged' WHERE position = 5")
    rewrite_links(5)
    with pytest.raises(LostCheckpointError, match="was signed over other events than stand before it"):
        make_trail(1)


def test_trail_that_was_replaced_is_not_signed(keys: KeyRing) -> None:
    make_trail(2)
    sql("DELETE FROM audit_auditevent")
    sql("DELETE FROM audit_trailhead")
    with pytest.raises(LostCheckpointError, match="is of another trail"):
        make_trail(2)


def test_restored_trail_is_signed_once_the_file_is_removed(keys: KeyRing) -> None:
    make_trail(2, 2)
    cut(5)
    with pytest.raises(LostCheckpointError) as error:
        checkpoint_now()
    assert str(error.value).endswith(f"After putting back a backup on purpose remove {last_checkpoint._file()}.")
    last_checkpoint._file().unlink()
    make_trail(1)
    assert verification.verify(keys).is_sound


def test_each_machine_follows_what_others_sign(keys: KeyRing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_trail(2)
    with another_machine(tmp_path, "other", monkeypatch):
        make_trail(2)
    assert kept() == (1, 2)
    assert checkpointing.checkpoint_if_due() is None
    assert kept() == (2, 5)
    cut(5)
    with pytest.raises(LostCheckpointError):
        make_trail(1)


def test_upgraded_machine_begins_with_the_last_of_the_trail(keys: KeyRing) -> None:
    make_trail(2, 2)
    last_checkpoint._file().unlink()
    assert checkpointing.checkpoint_if_due() is None
    assert kept() == (2, 5)


@pytest.mark.parametrize("is_signed", [True, False])
def test_forged_checkpoint_does_not_take_the_place_of_the_one_that_was_kept(is_signed: bool, keys: KeyRing) -> None:
    make_trail(2, 2)
    row = AuditEvent.objects.get(position=6)
    statement = statement_in(row.payload)
    assert statement is not None
    forged = payload_of(_with_number(statement, 99, is_signed))
    sql("UPDATE audit_auditevent SET payload = %s WHERE position = 3", forged)
    TrailHead.objects.update(checkpoint_number=99, checkpoint_position=3)
    checkpointing.checkpoint_if_due()
    assert kept()[0] < 99


def _with_number(statement: Any, number: int, is_signed: bool) -> Any:
    values = {**statement.info(), "number": number}
    return type(statement)(**(values if is_signed else {**values, "signature": "", "key_id": ""}))


@pytest.mark.usefixtures("no_pause")
def test_checkpoint_that_retention_removed_is_not_lost(keys: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    make_trail(2)
    of_a_machine_that_went_off = last_checkpoint._file().read_text()
    days_later(monkeypatch, 7)
    make_trail(1)
    assert remove() == 4
    last_checkpoint._file().write_text(of_a_machine_that_went_off)
    checkpointing.checkpoint_if_due()
    assert kept()[0] > 1


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '"text"', b"\xff"])
def test_file_that_is_no_checkpoint_is_told(content: str | bytes, keys: KeyRing) -> None:
    make_trail(1)
    last_checkpoint._file().write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LostCheckpointError, match="What was the last"):
        checkpointing.checkpoint_if_due()


def test_file_that_cannot_be_read_is_told(keys: KeyRing) -> None:
    make_trail(1)
    last_checkpoint._file().unlink()
    last_checkpoint._file().mkdir()
    with pytest.raises(LostCheckpointError, match="cannot be read"):
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
    assert "No space left on device" in caplog.text
    assert kept()[0] == 1
    checkpointing.checkpoint_if_due()
    assert kept()[0] == 2
