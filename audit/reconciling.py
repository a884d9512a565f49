"""Compares the trail with the stream, by event id, in bounded memory: what was read of the stream is kept in a file."""

import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from audit import draining
from audit.consumer import Consumer, Received
from audit.entries import Entry, read_entry
from audit.events import Action
from audit.mirror import Mirror, event_id_of, known_ids, oldest_kept
from audit.models import AuditEvent, State

_PAGE = 500


class Stopped(Exception):
    """Somebody asked for an end."""


class StreamCopy:
    """The ids that the stream has now, in a temporary SQLite file. Raises StreamError, Stopped."""

    def __init__(self, path: Path, stream: str, should_stop: Callable[[], bool]) -> None:
        self._stream = stream
        self._should_stop = should_stop
        self._file = sqlite3.connect(path, isolation_level=None)
        self._file.execute("PRAGMA synchronous=OFF")
        self._file.execute("CREATE TABLE message (id BLOB PRIMARY KEY, sequence INTEGER, time TEXT, oldest TEXT)")
        self._file.execute("CREATE TABLE lacking (sequence INTEGER PRIMARY KEY)")
        self.first_sequence = 1
        self.began = timezone.now()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self) -> None:
        """Read all of the stream that is there now."""
        self.began = timezone.now()
        with Consumer(self._stream) as consumer:
            self.first_sequence = consumer.standing().delivered_sequence + 1
            for messages in self._batches(consumer):
                self._file.execute("BEGIN")
                self._file.executemany("INSERT OR IGNORE INTO message VALUES (?, ?, ?, ?)", map(self._row, messages))
                self._file.execute("COMMIT")

    def lacking_in_stream(self, start: datetime | None, end: datetime | None) -> Iterator[AuditEvent]:
        """Published events that it does not have, among those that it should still hold, and those never published."""
        published = Q(state=State.PUBLISHED, published_at__lt=self.began) & ~Q(stream_sequence__lt=self.first_sequence)
        expected = events_between(start, end).filter(published | Q(state=State.LOCAL)).order_by("id")
        after = 0
        while page := list(expected.filter(id__gt=after)[:_PAGE]):
            yield from (event for event in page if not self._has(event.event_id))
            after = page[-1].pk

    def lacking_in_trail(self, start: datetime | None, end: datetime | None) -> Iterator[tuple[int, UUID]]:
        """Sequence and event id of each message that the trail does not have, but for what retention removes."""
        after = b""
        while rows := self._file.execute(
            "SELECT id, sequence, time, oldest FROM message WHERE id > ? ORDER BY id LIMIT ?", [after, _PAGE]
        ).fetchall():
            after = rows[-1][0]
            known = set(known_ids(UUID(bytes=row[0]) for row in rows))
            kept_from = oldest_kept()
            for key, sequence, time, oldest in rows:
                event_id = UUID(bytes=key)
                if event_id in known or datetime.fromisoformat(oldest) < kept_from:
                    continue
                if _is_between(datetime.fromisoformat(time), start, end):
                    self._file.execute("INSERT OR IGNORE INTO lacking VALUES (?)", [sequence])
                    yield sequence, event_id

    def take_in_lacking(self) -> int:
        """Take what `lacking_in_trail` found into the trail, as the mirror does; return how many it took."""
        (first,) = self._file.execute("SELECT min(sequence) FROM lacking").fetchone()
        if first is None:
            return 0
        mirror = Mirror(self._stream)
        with Consumer(self._stream, start=first) as consumer:
            for messages in self._batches(consumer):
                mirror.take_in([message for message in messages if self._is_lacking(message.sequence)])
        return mirror.taken_in

    def _batches(self, consumer: Consumer) -> Iterator[list[Received]]:
        for messages in draining.read_all(consumer):
            if self._should_stop():
                raise Stopped
            yield messages

    def _row(self, message: Received) -> tuple[bytes, int, str, str]:
        time = (read_entry(message.payload) or Entry()).time or message.time
        oldest = min(time, message.time)
        return event_id_of(message, self._stream).bytes, message.sequence, time.isoformat(), oldest.isoformat()

    def _has(self, event_id: UUID) -> bool:
        return self._file.execute("SELECT 1 FROM message WHERE id = ?", [event_id.bytes]).fetchone() is not None

    def _is_lacking(self, sequence: int) -> bool:
        return self._file.execute("SELECT 1 FROM lacking WHERE sequence = ?", [sequence]).fetchone() is not None


def publish_again(event: AuditEvent) -> None:
    """Have the outbox publish it again, with the same Nats-Msg-Id, unless its state has changed."""
    had = f"it had sequence {event.stream_sequence}" if event.stream_sequence else "it was kept without a NATS_URL"
    AuditEvent.objects.filter(pk=event.pk, state=event.state).update(
        state=State.PENDING, due_at=timezone.now(), last_error=f"reconcile: the stream lacks it; {had}"
    )


def events_between(start: datetime | None, end: datetime | None) -> QuerySet[AuditEvent]:
    """Events from `start` until before `end`."""
    within: dict[str, Any] = {}
    if start:
        within["occurred_at__gte"] = start
    if end:
        within["occurred_at__lt"] = end
    return AuditEvent.objects.filter(**within)


def count_by_state(start: datetime | None, end: datetime | None) -> dict[str, int]:
    """How many events are in each state."""
    counted = events_between(start, end).order_by().values_list("state").annotate(count=Count("id"))
    return dict.fromkeys(State.values, 0) | dict(counted)


def upload_locations() -> list[tuple[str, str]]:
    """Backend and name of each location that the trail has uploads to."""
    uploads = AuditEvent.objects.filter(action=Action.UPLOADED).exclude(location="")
    return sorted(uploads.order_by().values_list("backend", "location").distinct())


def uploaded_digests(backend: str, location: str, start: datetime | None, end: datetime | None) -> Iterator[str]:
    """Each digest whose upload to this location is in the trail, in order."""
    uploads = events_between(start, end).filter(action=Action.UPLOADED, backend=backend, location=location)
    digests = uploads.order_by("digest").values_list("digest", flat=True).distinct()
    after = ""
    while page := list(digests.filter(digest__gt=after)[:_PAGE]):
        yield from page
        after = page[-1]


def _is_between(time: datetime, start: datetime | None, end: datetime | None) -> bool:
    return (start is None or time >= start) and (end is None or time < end)
