"""Takes into the trail what others published to the stream, whole and once each, so that all history is in one place.

What is there already, by its event id, stays as it is: the events of our own above all. Nothing taken in is ever
published: the outbox claims pending rows alone.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast
from uuid import NAMESPACE_URL, UUID, uuid5

from django.conf import settings
from django.db.models import CharField

from audit.consumer import Received
from audit.entries import Entry, read_entry, read_uuid
from audit.events import Action
from audit.models import AuditEvent, State, TrailHead
from audit.names import STREAM
from audit.retention import cutoff
from common.storable_text import storable
from common.transactions import write_transaction

_NAMESPACE = uuid5(NAMESPACE_URL, "nats-stream-message")
_EVER = datetime.min.replace(tzinfo=UTC)
# RFC 2397. For bytes that a database's text cannot hold, and for text that could be taken for these.
_AS_BASE64 = "data:application/octet-stream;base64,"


@dataclass(slots=True)
class Mirror:
    """Takes in the messages of one stream, and counts what became of them."""

    stream: str = STREAM
    taken_in: int = 0
    known: int = 0
    too_old: int = 0

    def take_in(self, messages: Sequence[Received]) -> None:
        """Insert what is new, in one transaction; raises django.db.Error."""
        fresh = {event_id_of(message, self.stream): row_of(message, self.stream) for message in reversed(messages)}
        with write_transaction():
            known = set(known_ids(fresh))
            oldest = oldest_kept()  # after that: what was removed just now is not known, and too old
            unknown = [row for event_id, row in reversed(fresh.items()) if event_id not in known]
            rows = [row for row in unknown if min(row.occurred_at, _published(row)) >= oldest]
            AuditEvent.insert([row.insertable() for row in rows])
        self.too_old += len(unknown) - len(rows)
        self.taken_in += len(rows)
        self.known += len(messages) - len(fresh) + len(known)

    def __str__(self) -> str:
        text = f"{self.taken_in} taken in, {self.known} known already"
        return f"{text}, {self.too_old} older than what retention keeps" if self.too_old else text


def oldest_kept() -> datetime:
    """When the oldest event may have happened. Of those before it, retention removed our own: they must not return.

    By AUDIT_RETENTION_DAYS, or after the newest event that retention ever removed, if that is later.
    """
    days = settings.AUDIT_RETENTION_DAYS
    removed_before = TrailHead.objects.filter(pk=1).values_list("removed_before", flat=True).first()
    return max(removed_before or _EVER, cutoff(days) if days else _EVER)


def known_ids(event_ids: Iterable[UUID]) -> Iterable[UUID]:
    """Those of a batch of ids that the trail has."""
    return AuditEvent.objects.filter(event_id__in=list(event_ids)).values_list("event_id", flat=True)


def event_id_of(message: Received, stream: str) -> UUID:
    """Its Nats-Msg-Id when that is a UUID, else one made of the stream and the id, or of its place and time."""
    return read_uuid(message.message_id) or uuid5(_NAMESPACE, f"{stream}\n{message.key}")


def row_of(message: Received, stream: str = STREAM) -> AuditEvent:
    """An unsaved row of it: the payload whole, the other columns as far as they are known and fit."""
    entry = read_entry(message.payload) or Entry()
    return AuditEvent(
        event_id=event_id_of(message, stream),
        occurred_at=entry.time or message.time,
        action=_cut("action", entry.action),
        # A transfer's event that usage cannot count by is nobody's: the totals leave it out, as consumers do.
        org_id=entry.org_id if entry.can_count or entry.action not in set(Action) else None,
        digest=entry.digest,
        size_bytes=entry.size_bytes or 0,
        file_name=_cut("file_name", entry.file_name),
        backend=_cut("backend", entry.backend),
        skipped=bool(entry.skipped),
        subject=_cut("subject", storable(message.subject)),
        payload=text_of(message.payload),
        state=State.MIRRORED,
        stream_sequence=message.sequence,
        published_at=message.time,
    )


def text_of(payload: bytes) -> str:
    """The payload as text, from which `bytes_of` makes the very same bytes."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        text = "\0"
    return text if "\0" not in text and not text.startswith(_AS_BASE64) else _AS_BASE64 + b64encode(payload).decode()


def bytes_of(text: str) -> bytes:
    """The payload that `text_of` was given."""
    return b64decode(text.removeprefix(_AS_BASE64)) if text.startswith(_AS_BASE64) else text.encode()


def _cut(field: str, text: str) -> str:
    return text[: cast("CharField[str, str]", AuditEvent._meta.get_field(field)).max_length]


def _published(row: AuditEvent) -> datetime:
    assert row.published_at is not None  # noqa: S101  (row_of gives it)
    return row.published_at
