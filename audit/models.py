"""The trail: one row an event. It is the admin's mirror and the outbox; nothing but retention removes a row."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NoReturn

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone

from audit import chain
from audit.act_events import ActEvent
from audit.events import Action, Event, Kind
from audit.organization_models import Organization, OrganizationLimit, OrganizationRanking
from audit.report_models import LastPublished, StreamReport, WorkerBeat
from common.prepared import Insert

__all__ = [
    "REPLAYABLE",
    "AppendOnlyError",
    "AuditEvent",
    "AuditEventQuerySet",
    "Granularity",
    "LastPublished",
    "Organization",
    "OrganizationLimit",
    "OrganizationRanking",
    "RemovedEvents",
    "State",
    "StreamReport",
    "TrailHead",
    "UsageSum",
    "UsageTotal",
    "WorkerBeat",
]

# What publishing writes to a row, and what sealing does. Everything else is set once, when it is inserted.
DELIVERY_FIELDS = frozenset({"state", "due_at", "attempts", "last_error", "stream_sequence", "published_at"})
SEAL_FIELDS = frozenset({"position", "link"})


class AppendOnlyError(Exception):
    """Someone tried to change or delete history."""


class State(models.TextChoices):
    PENDING = "pending", "pending"
    PUBLISHED = "published", "published"
    FAILED = "failed", "failed"
    LOCAL = "local", "local"
    MIRRORED = "mirrored", "mirrored"

    @classmethod
    def of_new_events(cls) -> State:
        """Pending when there is somewhere to publish, else local."""
        return cls.PENDING if settings.NATS_URL else cls.LOCAL


REPLAYABLE = (State.PUBLISHED, State.LOCAL)


def _values_of(event: Event | ActEvent, state: State) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "occurred_at": event.occurred_at,
        "action": str(event.action),
        "org_id": event.org_id,
        "digest": event.digest,
        "size_bytes": event.size_bytes,
        "file_name": event.file_name,
        "backend": event.backend,
        "location": event.location,
        "skipped": event.skipped,
        "subject": event.subject,
        "payload": event.payload(),
        "state": str(state),
    }


@cache
def inserted_fields() -> list[tuple[str, models.Field[Any, Any]]]:
    """What an insert writes, by attribute and in the order of `insertion`'s columns."""
    fields = AuditEvent._meta.local_concrete_fields
    return [(field.attname, field) for field in fields if not field.primary_key and field.name not in SEAL_FIELDS]


@cache
def insertion() -> Insert:
    """The statement that inserts events by their `column_values`; what is there already, by its id, stays as it is.

    Not by the ORM, which would build it anew while it holds SQLite's write lock.
    """
    columns = [str(field.column) for _, field in inserted_fields()]
    # Of no other key: where PostgreSQL's sequence is behind the table, a new event would pass for one that is there.
    return Insert(AuditEvent._meta.db_table, columns, "(event_id) DO NOTHING")


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    def replayable(self) -> AuditEventQuerySet:
        """Those that were published or stayed here. What others published is not ours to publish."""
        return self.filter(state__in=REPLAYABLE)

    def update(self, **values: Any) -> int:
        """Write delivery fields; raise AppendOnlyError for any other."""
        if forbidden := set(values) - DELIVERY_FIELDS:
            raise AppendOnlyError(f"Audit events are append-only: {', '.join(sorted(forbidden))}.")
        return super().update(**values)

    def retry_failed(self) -> int:
        """Make those pending that failed, due at once; return how many."""
        return self.filter(state=State.FAILED).update(state=State.PENDING, due_at=timezone.now(), last_error="")

    def replay(self) -> int:
        """Make those pending, due at once, that are replayable; return how many.

        Their event id stays, so the stream drops them within its duplicate window.
        """
        return self.replayable().update(state=State.PENDING, due_at=timezone.now())

    def bulk_create(
        self,
        objs: Iterable[AuditEvent],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        *args: Any,
        **kwargs: Any,
    ) -> list[AuditEvent]:
        """Insert; raise AppendOnlyError when asked to update what is there."""
        if update_conflicts:
            raise AppendOnlyError("Audit events are append-only.")
        return super().bulk_create(objs, batch_size, ignore_conflicts)

    def delete(self) -> NoReturn:
        """Raise AppendOnlyError."""
        raise AppendOnlyError("Audit events are append-only.")


class AuditEvent(models.Model):
    """One event. It holds values and no foreign keys: history outlives what it speaks of."""

    event_id = models.UUIDField("event id", unique=True, editable=False)
    occurred_at = models.DateTimeField("time")
    action = models.CharField(max_length=100)
    org_id = models.UUIDField("organization", null=True, blank=True)
    digest = models.CharField(max_length=64, blank=True)
    size_bytes = models.BigIntegerField("size", default=0)
    file_name = models.CharField(max_length=255, blank=True)
    backend = models.CharField(max_length=50, blank=True)
    location = models.CharField(max_length=200, blank=True)
    skipped = models.BooleanField(default=False)
    subject = models.CharField(max_length=255, blank=True, help_text="Where it is published, or where it was found.")
    payload = models.TextField(help_text="The message exactly as it is published.")

    state = models.CharField(max_length=10, choices=State, default=State.PENDING)
    due_at = models.DateTimeField(
        default=timezone.now, help_text="When it may be claimed: later than now while claimed, or backing off."
    )
    attempts = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True)
    stream_sequence = models.BigIntegerField(null=True, blank=True)
    published_at = models.DateTimeField(null=True, blank=True)

    # Set once, by sealing (audit/sealing.py), which also counts the event into the usage totals.
    position = models.BigIntegerField(null=True, blank=True, unique=True, help_text="Its place in the chain, from 1.")
    link = models.BinaryField(
        null=True, max_length=32, help_text="SHA-256 over the link before it and this event's values."
    )

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        verbose_name = "audit event"
        indexes = [
            # Partial, so that claiming costs the same however long the history is.
            models.Index(fields=["id"], condition=models.Q(state="pending"), name="audit_pending"),
            models.Index(fields=["id"], condition=models.Q(position=None), name="audit_unsealed"),
            models.Index(fields=["occurred_at", "id"], name="audit_time"),
            models.Index(fields=["org_id", "occurred_at", "id"], name="audit_organization"),
            models.Index(fields=["digest", "occurred_at", "id"], name="audit_artifact"),
            # What is rare and looked for: events that did not fail, and those of transfers, cost these nothing.
            models.Index(fields=["occurred_at", "id"], condition=models.Q(state="failed"), name="audit_failed"),
            models.Index(
                fields=["occurred_at", "id"], condition=~models.Q(action__in=list(Action)), name="audit_other"
            ),
        ]
        permissions = [
            ("retry_auditevent", "Can send failed events again"),
            ("export_auditevent", "Can export events"),
            ("replay_auditevent", "Can publish events once more"),
        ]

    def __str__(self) -> str:
        return f"event {self.event_id}"  # what others named their action may hold anything

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert; raise AppendOnlyError for a row that exists."""
        if not self._state.adding:
            raise AppendOnlyError("Audit events are append-only.")
        kwargs["force_insert"] = True  # else Django would try to update the row of a key that was given
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise AppendOnlyError."""
        raise AppendOnlyError("Audit events are append-only.")

    @classmethod
    def of(cls, event: Event | ActEvent, state: State) -> AuditEvent:
        """An unsaved row of this event."""
        return cls(**_values_of(event, state))

    @staticmethod
    def column_values(event: Event | ActEvent, state: State) -> list[Any]:
        """What an insert writes of this event: as the database wants it, in the order of `insertion`'s columns."""
        return AuditEvent.of(event, state).insertable()

    def insertable(self) -> list[Any]:
        """What an insert writes of this row: as the database wants it, in the order of `insertion`'s columns."""
        database = transaction.get_connection()
        return [field.get_db_prep_save(getattr(self, name), database) for name, field in inserted_fields()]

    @staticmethod
    def insert(rows: Sequence[list[Any]]) -> None:
        """Insert rows by their `column_values`; what is there already, by its event id, stays as it is."""
        insertion().run(rows)


class TrailHead(models.Model):
    """Where the chain ends: one row, whose lock makes sealing one at a time."""

    trail_id = models.UUIDField(default=uuid.uuid4, editable=False, help_text="Tells this trail's checkpoints apart.")
    position = models.BigIntegerField(default=0)
    link = models.BinaryField(max_length=32, default=chain.GENESIS)
    sealed_at = models.DateTimeField(null=True, blank=True)
    checkpoint_number = models.BigIntegerField(default=0)
    checkpoint_position = models.BigIntegerField(default=0, help_text="Where the last checkpoint itself stands.")
    checkpointed_at = models.DateTimeField(null=True, blank=True)
    removed_before = models.DateTimeField(
        null=True, blank=True, help_text="The latest time before which retention has removed events."
    )

    def __str__(self) -> str:
        return f"position {self.position}"

    @classmethod
    def locked(cls) -> TrailHead:
        """The one head, made when there is none, which no one else has until the transaction ends."""
        head, _ = cls.objects.select_for_update().get_or_create(pk=1)
        return head


class RemovedEvents(models.Model):
    """A stretch of the chain whose events retention removed: what takes their place when the chain is verified."""

    first_position = models.BigIntegerField(unique=True)
    last_position = models.BigIntegerField(unique=True)
    previous_link = models.BinaryField(max_length=32, help_text="The link before the first event removed.")
    link = models.BinaryField(max_length=32, help_text="The link of the last event removed.")
    removed_at = models.DateTimeField()
    # Null in notes of before there were these columns.
    expired_before = models.DateTimeField(null=True, help_text="All events removed are of before this time.")
    checkpoint_number = models.BigIntegerField(null=True, help_text="Of the last checkpoint up to the last event.")
    key_id = models.CharField(max_length=16, blank=True)
    signature = models.CharField(max_length=128, blank=True, help_text="Empty when there was no key to sign with.")

    class Meta:
        verbose_name = verbose_name_plural = "removed events"

    def __str__(self) -> str:
        return f"positions {self.first_position} to {self.last_position}"


class Granularity(models.TextChoices):
    HOUR = "hour", "hour"
    DAY = "day", "day"


class UsageSum(models.Model):
    """What all organizations together transferred in an hour or a day (UTC), in one way: the sum of their totals."""

    granularity = models.CharField(max_length=4, choices=Granularity)
    start = models.DateTimeField(help_text="The first moment of the hour or day.")
    kind = models.CharField(max_length=12)
    transfers = models.BigIntegerField()
    bytes = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["granularity", "start", "kind"], name="audit_usage_sum")]

    def __str__(self) -> str:
        return f"{self.kind} {self.granularity} {self.start:%Y-%m-%d %H:%M}"


class UsageTotal(models.Model):
    """What an organization transferred in an hour or a day (UTC), at one location, in one way. Outlives its events."""

    granularity = models.CharField(max_length=4, choices=Granularity)
    start = models.DateTimeField(help_text="The first moment of the hour or day.")
    org_id = models.UUIDField("organization")
    backend = models.CharField(max_length=50, blank=True)
    location = models.CharField(max_length=200, blank=True)
    kind = models.CharField(max_length=12, choices=[(kind.value, kind.value) for kind in Kind])
    transfers = models.BigIntegerField()
    bytes = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["granularity", "start", "org_id", "backend", "location", "kind"], name="audit_usage_total"
            )
        ]
        indexes = [models.Index(fields=["org_id", "granularity", "start"], name="audit_usage_organization")]
        permissions = [("export_usagetotal", "Can export usage")]

    def __str__(self) -> str:
        return f"{self.org_id} {self.kind} {self.granularity} {self.start:%Y-%m-%d %H:%M}"
