"""Checkpoints that were kept elsewhere are believed more than what the database says of removals."""

import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from audit import checkpoints, removals, retention
from audit.findings import Finding
from audit.models import AuditEvent, RemovedEvents, TrailHead
from audit.statements import Checkpoint, KeyRing
from audit.verification import verify
from audit.witnesses import Place, compare
from tests.audit.trails import days_later, make_trail, old_ns, remove, rewrite_links, sql

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_pause")]


def statements() -> list[Checkpoint]:
    """All checkpoints there are, as the stream would have them."""
    found = map(checkpoints.statement_in, AuditEvent.objects.order_by("position").values_list("payload", flat=True))
    return [statement for statement in found if statement is not None]


def outcomes(witnesses: list[Checkpoint], keys: KeyRing) -> list[str]:
    found = list(compare(witnesses, keys))
    return [outcome.problem if isinstance(outcome, Finding) else outcome.value for outcome in found]


IN_TRAIL, REMOVED = Place.IN_TRAIL.value, Place.REMOVED.value


def test_witnesses_that_retention_removed_are_told_apart(keys: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    make_trail(2, 2, 2)
    witnesses = statements()
    days_later(monkeypatch, 10)
    assert remove() == 8
    assert outcomes(witnesses, keys) == [REMOVED, REMOVED, IN_TRAIL]


def test_witness_that_leaves_while_it_is_looked_for_is_no_finding(
    keys: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trail(2, 2, 2)
    witnesses = statements()[:1]
    days_later(monkeypatch, 10)
    covering = removals.covering

    def remove_after(position: int) -> RemovedEvents | None:
        found = covering(position)
        monkeypatch.undo()
        days_later(monkeypatch, 10)
        remove()
        return found

    monkeypatch.setattr(removals, "covering", remove_after)
    assert outcomes(witnesses, keys) == [IN_TRAIL]


def note(key: Ed25519PrivateKey | None, first: int, last: int, **values: Any) -> None:
    """A note that somebody forged, or that a server signed which was deceived."""
    ends = {row.position: row.link for row in AuditEvent.objects.filter(position__in=[first - 1, last])}
    values = {"removed_at": timezone.now(), "expired_before": retention.cutoff(5), "checkpoint_number": 9, **values}
    removed = RemovedEvents(
        first_position=first, last_position=last, previous_link=ends[first - 1], link=ends[last], **values
    )
    if key is not None:
        statement = removals.statement_of(TrailHead.objects.get().trail_id, removed).signed_with(key)
        removed.key_id, removed.signature = statement.key_id, statement.signature
    removed.save()
    sql("DELETE FROM audit_auditevent WHERE position BETWEEN %s AND %s", first, last)


def test_witness_that_had_not_expired_is_not_taken_for_removed(keys: KeyRing, private_key: Ed25519PrivateKey) -> None:
    make_trail(2, 2, 2)
    witnesses = statements()
    note(private_key, 2, 6, checkpoint_number=2)
    assert verify(keys).findings == []
    first, second, third = outcomes(witnesses, keys)
    assert first.endswith("had not expired when retention removed positions 2 to 6, or so it says there")
    assert (second == first.replace("checkpoint 1", "checkpoint 2"), third) == (False, IN_TRAIL)
    assert "had not expired" in second


def test_witness_of_after_a_note_without_a_time_of_expiry_is_not_taken_for_removed(
    keys: KeyRing, private_key: Ed25519PrivateKey
) -> None:
    make_trail(2, 2)
    witnesses = statements()
    note(private_key, 2, 3, removed_at=retention.cutoff(1), expired_before=None, checkpoint_number=None)
    assert "had not expired" in outcomes(witnesses, keys)[0]


def test_witness_that_a_note_does_not_count_is_not_taken_for_removed(
    keys: KeyRing, private_key: Ed25519PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trail(2, 2, 2)
    witnesses = statements()
    days_later(monkeypatch, 10)
    note(private_key, 2, 6, checkpoint_number=1)
    found = outcomes(witnesses, keys)
    assert (found[0], found[2]) == (REMOVED, IN_TRAIL)
    assert "retention removed positions 2 to 6, up to checkpoint 1" in found[1]


def test_witness_of_other_links_than_those_at_the_edge_of_a_note_is_named(
    keys: KeyRing, private_key: Ed25519PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trail(2, 2, 2)
    witnesses = statements()
    sql("UPDATE audit_auditevent SET file_name = 'forged' WHERE position = 2")
    rewrite_links(2)
    days_later(monkeypatch, 10)
    note(private_key, 3, 5)
    first, second, _ = outcomes(witnesses, keys)
    assert "was signed over other events" in first  # event 2 is still there
    assert "is not in the trail" not in second
    assert "was signed over other events" in second  # the note has the link of event 5


@pytest.mark.parametrize("is_signed_by_another", [False, True])
def test_note_that_is_not_signed_with_a_given_key_covers_no_witness(
    is_signed_by_another: bool, keys: KeyRing, tmp_path: Path
) -> None:
    make_trail(2, 6, 9, 2)
    (tmp_path / "stream").write_text("".join(f"{checkpoints.payload_of(each)}\n" for each in statements()))
    key = Ed25519PrivateKey.generate() if is_signed_by_another else None
    note(key, 3, 20, expired_before=timezone.now())
    out = io.StringIO()
    arguments = ["--from-position", "22", "--checkpoint", str(tmp_path / "stream")]
    public = str(tmp_path / "checkpoints" / "checkpoint-public.pem")
    with pytest.raises(SystemExit) as exit_:
        call_command("verify_trail", "--public-key", public, *arguments, stdout=out)
    assert exit_.value.code == 1
    assert "the note that retention removed positions 3 to 20 is " in out.getvalue()


def test_without_a_key_notes_are_believed(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CAS_CHECKPOINT_KEY = ""
    make_trail(2, 2)
    witnesses = statements()
    days_later(monkeypatch, 10)
    assert remove() == 5
    assert outcomes(witnesses, KeyRing()) == [REMOVED, IN_TRAIL]


def test_witness_without_a_time_is_no_traceback(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CAS_CHECKPOINT_KEY = ""
    make_trail(2, 2)
    witnesses = [replace(statements()[0], time=time) for time in ("x", "2020-01-01")]
    days_later(monkeypatch, 10)
    assert remove() == 5
    assert ["had not expired" in found for found in outcomes(witnesses, KeyRing())] == [True, True]


@pytest.mark.usefixtures("forgetful")
def test_history_that_was_rewritten_with_all_that_tells_of_it_contradicts_the_witnesses(keys: KeyRing) -> None:
    """Nothing in the database tells of it any more, and retention believes what the server signed."""
    make_trail(2, 2, 2)
    witnesses = statements()
    long_ago = connection.ops.adapt_datetimefield_value(datetime(2020, 1, 1, tzinfo=UTC))
    sql("UPDATE audit_auditevent SET action = 'OrgCreated', occurred_at = %s WHERE position >= 3", long_ago)
    rewrite_links(3)
    TrailHead.objects.update(checkpoint_number=0, checkpointed_at=None)
    make_trail(1)
    assert remove() == 7
    assert verify(keys).findings == []
    assert ["had not expired" in found for found in outcomes(witnesses, keys)] == [True, True, True]


def test_report_counts_both(public_key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_trail(2, timestamp_ns=old_ns(10))
    make_trail(2)
    (tmp_path / "stream").write_text("".join(f"{checkpoints.payload_of(each)}\n" for each in statements()))
    assert remove(days=1e-9) == 5
    arguments = ["--public-key", str(public_key), "--checkpoint", str(tmp_path / "stream")]
    out = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("verify_trail", *arguments, stdout=out)
    assert "1 checkpoints that were given are in the trail\n" in out.getvalue()
    assert "\n1 are in stretches that retention removed: compared by age, number, and the links" in out.getvalue()
    out = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("verify_trail", *arguments, "--json", stdout=out)
    report = json.loads(out.getvalue())
    assert (report["checkpoints_agreeing"], report["checkpoints_removed"]) == (1, 1)
