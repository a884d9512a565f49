"""A key that is missing where events are removed, and one that was missing for a while."""

import io
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from audit import retention
from audit.chain_reading import MissingKeyError, TamperedError
from audit.models import AuditEvent, RemovedEvents, State
from audit.statements import KeyRing
from audit.verification import verify
from tests.audit.trails import days_later, make_trail, old_ns, remove, sql
from tests.factories import make_row

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_pause")]


def accept_unsigned(days: float = 5) -> str:
    out = io.StringIO()
    call_command("remove_expired_events", "--days", str(days), "--accept-unsigned", stdout=out)
    return out.getvalue()


def problems(keys: KeyRing) -> list[str]:
    return [found.problem for found in verify(keys).findings]


def test_nothing_is_removed_from_a_signed_trail_without_the_key(keys: KeyRing, settings: Any) -> None:
    make_trail(2, timestamp_ns=old_ns(10))
    key, settings.CAS_CHECKPOINT_KEY = settings.CAS_CHECKPOINT_KEY, ""
    with pytest.raises(MissingKeyError, match="CAS_CHECKPOINT_KEY is not set here"):
        remove()
    settings.CAS_CHECKPOINT_KEY = key
    assert remove() == 2


def test_nothing_is_removed_without_the_key_where_only_notes_are_signed(keys: KeyRing, settings: Any) -> None:
    make_trail(2, timestamp_ns=old_ns(10))
    assert remove() == 2
    settings.CAS_CHECKPOINT_KEY = ""
    make_trail(2, timestamp_ns=old_ns(10))
    with pytest.raises(MissingKeyError, match="CAS_CHECKPOINT_KEY is not set here"):
        remove()


def test_nothing_is_removed_without_the_key_before_an_older_signature(keys: KeyRing, settings: Any) -> None:
    make_trail(2, timestamp_ns=old_ns(10))
    settings.CAS_CHECKPOINT_KEY = ""
    make_trail(2, timestamp_ns=old_ns(10))
    with pytest.raises(MissingKeyError, match="position 3 is signed: set CAS_CHECKPOINT_KEY"):
        remove()


def test_public_keys_alone_do_not_sign(public_key: Path, settings: Any) -> None:
    settings.CAS_CHECKPOINT_KEY, settings.CAS_CHECKPOINT_PUBLIC_KEYS = "", [str(public_key)]
    make_trail(2, timestamp_ns=old_ns(10))
    with pytest.raises(MissingKeyError):
        remove()


def make_unsigned_notes(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of before there was a key, a row between them that stayed; and the first signature behind."""
    key, settings.CAS_CHECKPOINT_KEY = settings.CAS_CHECKPOINT_KEY, ""
    make_row(State.PUBLISHED, timestamp_ns=old_ns(10))
    make_row(State.FAILED, timestamp_ns=old_ns(10))
    make_trail(2, timestamp_ns=old_ns(10))
    assert remove() == 3
    settings.CAS_CHECKPOINT_KEY = key
    make_trail(2)


def test_notes_of_before_there_was_a_key_are_signed_by_hand(
    keys: KeyRing, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_unsigned_notes(settings, monkeypatch)
    assert problems(keys) == [
        "the note that retention removed positions 1 to 1 is not signed",
        "the note that retention removed positions 3 to 4 is not signed",
    ]
    AuditEvent.objects.filter(position=2).update(state=State.PUBLISHED)
    with pytest.raises(TamperedError, match="remove_expired_events --accept-unsigned"):
        remove()
    assert "stays as it is: not all that it stands for has expired" in accept_unsigned_or_error()
    days_later(monkeypatch, 10)
    said = accept_unsigned()
    assert "positions 3 to 4 is signed now" in said
    assert "positions 1 to 1 is signed now" in said
    assert problems(keys) == []
    note = RemovedEvents.objects.get()
    assert (note.first_position, note.last_position, note.checkpoint_number) == (1, 7, 1)


def accept_unsigned_or_error() -> str:
    before = retention.cutoff(5)
    return "\n".join(retention.sign_notes(before))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("previous_link = 'x'", "does not fit what is before it"),
        ("link = 'x'", "stays as it is: The event at position 5 is not as it was sealed"),
        ("checkpoint_number = 1", "does not fit the checkpoints on its sides: it counts 1"),
        ("checkpoint_number = -1", "does not fit the checkpoints on its sides: it counts -1"),
    ],
)
def test_note_that_does_not_fit_is_not_signed(
    change: str, problem: str, keys: KeyRing, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_unsigned_notes(settings, monkeypatch)
    days_later(monkeypatch, 10)
    column, _, value = change.partition(" = ")
    new: Any = b"1" * 32 if value == "'x'" else int(value)
    sql(f"UPDATE audit_removedevents SET {column} = %s WHERE first_position = 3", new)  # noqa: S608
    assert problem in accept_unsigned_or_error()
    assert RemovedEvents.objects.get(first_position=3).signature == ""


def test_checkpoints_of_a_while_without_a_key_pass_by_hand(keys: KeyRing, settings: Any) -> None:
    make_trail(2, timestamp_ns=old_ns(10))
    key, settings.CAS_CHECKPOINT_KEY = settings.CAS_CHECKPOINT_KEY, ""
    make_trail(2, timestamp_ns=old_ns(10))
    settings.CAS_CHECKPOINT_KEY = key
    make_trail(2, timestamp_ns=old_ns(10))
    with pytest.raises(TamperedError, match="position 6 is not signed, and earlier ones are"):
        remove(days=1e-9)
    assert "Removed 8 events" in accept_unsigned(days=1e-9)
    assert problems(keys) == []
