"""The trail: one row an event. It is the admin's mirror and the outbox, and it only grows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from django.conf import settings
from django.db import models
from django.utils import timezone

from audit.events import Action, Event, subject_of

# What publishing writes to a row. Everything else is set once, when it is inserted.
DELIVERY_FIELDS = frozenset({"state", "due_at", "attempts", "last_error", "stream_sequence", "published_at"})


class AppendOnlyError(Exception):
    """Someone tried to change or delete history."""


class State(models.TextChoices):
    PENDING = "pending", "pending"
    PUBLISHED = "published", "published"
    FAILED = "failed", "failed"
    LOCAL = "local", "local"

    @classmethod
    def of_new_events(cls) -> State:
        """Pending when there is somewhere to publish, else local."""
        return cls.PENDING if settings.NATS_URL else cls.LOCAL


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    def update(self, **values: Any) -> int:
        """Write delivery fields; raise AppendOnlyError for any other."""
        if forbidden := set(values) - DELIVERY_FIELDS:
            raise AppendOnlyError(f"Audit events are append-only: {', '.join(sorted(forbidden))}.")
        return super().update(**values)

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
    action = models.CharField(max_length=50, choices=[(action.value, action.value) for action in Action])
    org_id = models.UUIDField("organization")
    digest = models.CharField(max_length=64, db_index=True)
    size_bytes = models.BigIntegerField("size")
    file_name = models.CharField(max_length=255, blank=True)
    backend = models.CharField(max_length=50, blank=True)
    location = models.CharField(max_length=200, blank=True)
    skipped = models.BooleanField(default=False)
    payload = models.TextField(help_text="The message exactly as it is published.")

    state = models.CharField(max_length=10, choices=State, default=State.PENDING)
    due_at = models.DateTimeField(
        default=timezone.now, help_text="When it may be claimed: later than now while claimed, or backing off."
    )
    attempts = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True)
    stream_sequence = models.BigIntegerField(null=True, blank=True)
    published_at = models.DateTimeField(null=True, blank=True)

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        verbose_name = "audit event"
        indexes = [
            # Partial, so that claiming costs the same however long the history is.
            models.Index(fields=["id"], condition=models.Q(state="pending"), name="audit_pending"),
            models.Index(fields=["org_id", "-id"], name="audit_organization"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.event_id}"

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
    def of(cls, event: Event, state: State) -> AuditEvent:
        """An unsaved row of this event."""
        return cls(
            event_id=event.event_id,
            occurred_at=event.occurred_at,
            action=event.action,
            org_id=event.org_id,
            digest=event.digest,
            size_bytes=event.size_bytes,
            file_name=event.file_name,
            backend=event.backend,
            location=event.location,
            skipped=event.skipped,
            payload=event.payload(),
            state=state,
        )

    @property
    def subject(self) -> str:
        """Where it is published."""
        return subject_of(self.action)
