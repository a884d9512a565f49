"""Retention removes only what a signature vouches for, whatever was done to the trail before."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from django.db import connection

from audit import checkpoints, removals, retention, vouching
from audit.chain_reading import MissingKeyError, RefusedError, TamperedError, link_before
from audit.keys import read_public_key
from audit.models import AuditEvent, RemovedEvents, State, TrailHead
from audit.statements import KeyRing
from audit.verification import verify
from tests.audit.trails import checkpoint_now, make_trail, old_ns, remove, rewrite_links, rows, seal_all, sql
from tests.factories import make_row

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_pause", "forgetful")]

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def ranges() -> list[tuple[int, int]]:
    return list(RemovedEvents.objects.order_by("first_position").values_list("first_position", "last_position"))


def alter(position: int) -> None:
    sql("UPDATE audit_auditevent SET file_name = 'forged' WHERE position = %s", position)


def backdate(condition: str) -> None:
    time = connection.ops.adapt_datetimefield_value(LONG_AGO)
    sql(f"UPDATE audit_auditevent SET occurred_at = %s WHERE {condition}", time)  # noqa: S608  (a test's own)


def disguise(condition: str) -> None:
    """Let checkpoints look like events of another kind."""
    sql(f"UPDATE audit_auditevent SET action = 'OrgCreated', payload = '{{}}' WHERE {condition}")  # noqa: S608


CHECKPOINTS = f"action = '{checkpoints.ACTION}'"


def forge() -> None:
    """Alter event 4 of a trail, and let event 5 and all checkpoints behind look as if they had expired."""
    alter(4)
    backdate(f"position = 5 OR {CHECKPOINTS}")
    rewrite_links(3)


def forge_disguised() -> None:
    alter(4)
    backdate(f"position = 5 OR {CHECKPOINTS}")
    disguise(CHECKPOINTS)
    rewrite_links(3)


def forge_mirrored() -> None:
    forge()
    sql(f"UPDATE audit_auditevent SET state = 'mirrored' WHERE {CHECKPOINTS}")  # noqa: S608


def forge_with_first_disguised() -> None:
    alter(2)
    backdate("position IN (1, 3)")
    disguise("position = 3")
    rewrite_links(1)


@pytest.mark.parametrize("is_signed_on", [False, True])
@pytest.mark.parametrize("do", [forge, forge_disguised, forge_mirrored, forge_with_first_disguised])
def test_forged_history_is_not_removed(do: Callable[[], None], is_signed_on: bool, keys: KeyRing) -> None:
    make_trail(2, 2, 2, 2)
    do()
    if is_signed_on:
        make_trail(1)  # the server signs what it finds
    before = AuditEvent.objects.count()
    with suppress(TamperedError):
        assert remove() == 0
    assert (AuditEvent.objects.count(), ranges()) == (before, [])


def test_checkpoint_that_only_looks_old_is_named(keys: KeyRing) -> None:
    make_trail(2)
    backdate("position = 3")
    rewrite_links(3)
    make_trail(1)
    with pytest.raises(TamperedError, match=r"position 3 is of 20\d\d-.*, and its row has another time"):
        remove()


def test_events_that_were_rewritten_with_all_links_are_named_by_the_next_checkpoint(keys: KeyRing) -> None:
    make_trail(2, 2, timestamp_ns=old_ns(10))
    alter(4)
    rewrite_links(4)
    make_trail(1)
    with pytest.raises(TamperedError, match="position 6 was signed over other events"):
        remove()
    assert ranges() == [(1, 2)]


def test_disguised_checkpoints_are_missed_by_the_next(keys: KeyRing) -> None:
    make_trail(2, 2)
    forge_disguised()
    make_trail(1)
    with pytest.raises(TamperedError, match="is number 3, and 1 should be next"):
        remove()


def test_checkpoints_disguised_behind_what_was_removed_are_missed_by_the_next(keys: KeyRing) -> None:
    make_trail(2, timestamp_ns=old_ns(10))
    assert remove() == 2
    make_trail(2, 2)
    backdate("position >= 3")
    disguise("position >= 3")
    rewrite_links(3)
    make_trail(1)
    with pytest.raises(TamperedError, match="is number 4, and 1 should be next"):
        remove()
    assert ranges() == [(1, 2)]


@pytest.mark.parametrize("has_key", [False, True])
def test_nothing_leaves_before_a_checkpoint_is_behind_it(has_key: bool, keys: KeyRing, settings: Any) -> None:
    settings.CAS_CHECKPOINT_KEY = settings.CAS_CHECKPOINT_KEY if has_key else ""
    make_trail(1)
    make_row(State.PUBLISHED, timestamp_ns=old_ns(10))
    make_row(State.PUBLISHED, timestamp_ns=old_ns(10))
    seal_all()
    assert remove() == 0
    checkpoint_now()
    assert remove() == 2


def test_without_a_key_links_and_numbers_must_fit_at_least(settings: Any) -> None:
    settings.CAS_CHECKPOINT_KEY = ""
    make_trail(2, 2)
    forge_disguised()
    make_trail(1)
    with pytest.raises(TamperedError, match="is number 3, and 1 should be next"):
        remove()


def test_events_rewritten_between_two_batches_stay(keys: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    make_trail(6, timestamp_ns=old_ns(10))
    batches = retention.remove_expired(retention.cutoff(5))
    assert next(batches) == 2
    alter(4)
    rewrite_links(4)
    with pytest.raises(TamperedError, match="were changed while they were being removed"):
        next(batches)
    assert ranges() == [(1, 2)]


def test_chain_is_read_ahead_once_for_many_batches(keys: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    monkeypatch.setattr(vouching, "STEP", 3)
    read: list[int] = []
    once = vouching.Vouching._read_once

    def counted(self: vouching.Vouching, first: int, last: int) -> Any:
        read.append(first)
        return once(self, first, last)

    monkeypatch.setattr(vouching.Vouching, "_read_once", counted)
    make_trail(20, timestamp_ns=old_ns(10))
    make_trail(20, timestamp_ns=old_ns(10))
    assert remove() == 40
    assert read == [1, 22]
    assert ranges() == [(1, 20), (22, 41)]
    assert verify(keys).findings == []


def test_note_tells_what_had_expired_and_how_many_checkpoints_there_were(keys: KeyRing) -> None:
    make_trail(2, 2, timestamp_ns=old_ns(10))
    before = retention.cutoff(5)
    assert sum(retention.remove_expired(before)) == 4
    notes = RemovedEvents.objects.order_by("first_position")
    assert [(note.expired_before, note.checkpoint_number) for note in notes] == [(before, 0), (before, 1)]
    later = retention.cutoff(1e-9)
    assert sum(retention.remove_expired(later)) == 1
    note = RemovedEvents.objects.get()
    assert (note.first_position, note.last_position) == (1, 5)
    assert (note.expired_before, note.checkpoint_number) == (later, 1)


def note_of_an_earlier_version(key: Ed25519PrivateKey) -> None:
    """Let the one note be as it was written before it told of expiry and checkpoints."""
    note = RemovedEvents.objects.get()
    note.expired_before = note.checkpoint_number = None
    statement = removals.statement_of(TrailHead.objects.get().trail_id, note).signed_with(key)
    assert statement.text.count(b"\n") == 7
    note.signature = statement.signature
    note.save()


def test_notes_of_earlier_versions_hold(keys: KeyRing, private_key: Ed25519PrivateKey) -> None:
    make_trail(2, timestamp_ns=old_ns(10))
    make_trail(2, timestamp_ns=old_ns(8))
    assert remove(days=9) == 2
    note_of_an_earlier_version(private_key)
    assert verify(keys).findings == []
    assert remove(days=5) == 2
    assert verify(keys).findings == []
    numbers = RemovedEvents.objects.order_by("first_position").values_list("checkpoint_number", flat=True)
    assert list(numbers) == [None, 1]
    removed_at = RemovedEvents.objects.get(first_position=1).removed_at
    later = retention.cutoff(1e-9)
    assert sum(retention.remove_expired(later)) == 1
    note = RemovedEvents.objects.get()
    assert note.expired_before == max(later, removed_at)


def new_key(path: Path) -> Path:
    """Another key in a file; the public half in another beside it."""
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = path.with_suffix(".pub")
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return public


def test_what_an_earlier_key_signed_leaves_when_its_public_half_is_known(
    public_key: Path, tmp_path: Path, settings: Any
) -> None:
    make_trail(2, timestamp_ns=old_ns(10))
    make_trail(2, timestamp_ns=old_ns(8))
    assert remove(days=9) == 2
    later = new_key(tmp_path / "later.pem")
    settings.CAS_CHECKPOINT_KEY = str(tmp_path / "later.pem")
    make_trail(1)
    with pytest.raises(MissingKeyError, match="add its public key to CAS_CHECKPOINT_PUBLIC_KEYS"):
        remove(days=5)
    settings.CAS_CHECKPOINT_PUBLIC_KEYS = [str(public_key)]
    assert remove(days=5) == 2
    keys = KeyRing([read_public_key(public_key), read_public_key(later)])
    assert verify(keys).findings == []


def test_key_is_changed_in_the_documented_order_without_a_stop(public_key: Path, tmp_path: Path, settings: Any) -> None:
    """docs/keys.md: verifiers and maintenance know both public halves before anything is signed with the new one."""
    later, old = new_key(tmp_path / "later.pem"), settings.CAS_CHECKPOINT_KEY
    ring = KeyRing([read_public_key(public_key), read_public_key(later)])
    settings.CAS_CHECKPOINT_PUBLIC_KEYS = [str(public_key), str(later)]
    make_trail(2, timestamp_ns=old_ns(10))
    settings.CAS_CHECKPOINT_KEY = str(tmp_path / "later.pem")  # the worker's alone, at first
    make_trail(2, timestamp_ns=old_ns(10))
    settings.CAS_CHECKPOINT_KEY = old
    assert remove() == 4
    assert verify(ring).findings == []
    settings.CAS_CHECKPOINT_KEY = str(tmp_path / "later.pem")
    make_trail(2, timestamp_ns=old_ns(10))
    assert remove() == 2
    assert verify(ring).findings == []


def test_what_was_sealed_before_there_was_a_key_waits_for_the_first_signature(public_key: Path, settings: Any) -> None:
    key, settings.CAS_CHECKPOINT_KEY = settings.CAS_CHECKPOINT_KEY, ""
    make_trail(2, 2, timestamp_ns=old_ns(10))
    settings.CAS_CHECKPOINT_KEY = key
    assert remove() == 0
    make_trail(1)
    assert remove() == 4
    assert verify(KeyRing([read_public_key(public_key)])).findings == []


def strip_signatures(first: int) -> None:
    """Let checkpoints from a position on look as if there had been no key, and all links fit them."""
    for row in rows():
        statement = checkpoints.statement_in(row["payload"])
        if statement is not None and (row.position or 0) >= first:
            link = link_before(row.position or 0).hex()
            unsigned = replace(statement, key_id="", signature="", link=link)
            sql("UPDATE audit_auditevent SET payload = %s WHERE id = %s", checkpoints.payload_of(unsigned), row.pk)
            rewrite_links(row.position or 0)


def test_checkpoints_whose_signatures_were_taken_away_are_named(keys: KeyRing) -> None:
    make_trail(2, 2, 2, timestamp_ns=old_ns(10))
    alter(4)
    rewrite_links(4)
    strip_signatures(first=6)
    make_trail(1)
    with pytest.raises(TamperedError, match="position 6 is not signed, and earlier ones are"):
        remove()


@pytest.mark.parametrize("change", ["signature = ''", "last_position = 2", "checkpoint_number = 7", "key_id = 'x'"])
def test_note_behind_that_is_not_as_it_was_signed_stops_it(change: str, keys: KeyRing) -> None:
    make_row(State.FAILED, timestamp_ns=old_ns(10))
    make_trail(2, timestamp_ns=old_ns(10))
    assert remove() == 2
    AuditEvent.objects.update(state=State.PUBLISHED)
    sql(f"UPDATE audit_removedevents SET {change}")  # noqa: S608
    with pytest.raises(RefusedError):
        remove()
    assert AuditEvent.objects.count() == 2


def test_what_stayed_before_a_note_leaves_by_its_signature(keys: KeyRing) -> None:
    make_row(State.FAILED, timestamp_ns=old_ns(10))
    make_trail(2, timestamp_ns=old_ns(10))
    assert remove() == 2
    AuditEvent.objects.update(state=State.PUBLISHED)
    sql("DELETE FROM audit_auditevent WHERE position > 3")
    assert remove() == 1
    assert ranges() == [(1, 3)]


def test_event_where_all_were_removed_stops_it(keys: KeyRing) -> None:
    make_row(State.FAILED, timestamp_ns=old_ns(10))
    make_trail(2, timestamp_ns=old_ns(10))
    assert remove() == 2
    forged = make_row(State.PUBLISHED, timestamp_ns=old_ns(10))
    sql("UPDATE audit_auditevent SET position = 3, link = %s WHERE id = %s", b"1" * 32, forged.pk)
    with pytest.raises(TamperedError, match="where retention removed all"):
        remove()


def sign_note(key: Ed25519PrivateKey, **values: Any) -> None:
    """Let the one note say this, as a server that was deceived would."""
    note = RemovedEvents.objects.get()
    for name, value in values.items():
        setattr(note, name, value)
    statement = removals.statement_of(TrailHead.objects.get().trail_id, note).signed_with(key)
    note.signature = statement.signature
    note.save()


def test_verifier_goes_on_with_a_notes_number_of_checkpoints(keys: KeyRing, private_key: Ed25519PrivateKey) -> None:
    make_trail(2)
    make_trail(2, timestamp_ns=old_ns(10))
    assert remove() == 2
    sign_note(private_key, checkpoint_number=7)
    assert "this is checkpoint 2, and 8 should be next" in verify(keys).findings[0].problem
    sign_note(private_key, checkpoint_number=0)
    assert "counts 0 checkpoints, and number 1 stands before it" in verify(keys).findings[0].problem


def test_as_much_of_a_stretch_leaves_as_is_vouched_for(keys: KeyRing) -> None:
    make_trail(2, 2)
    assert remove(days=1e-9) == 5
    assert ranges() == [(1, 5)]
    assert verify(keys).findings == []
