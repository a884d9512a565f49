"""A new event's row for AuditEvent.insert, at a fraction of what each field's own conversion takes."""

from functools import cache
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from audit.events import Action, Event
from audit.models import AuditEvent, State, inserted_fields

_ANY = Event(UUID(int=0), 0, Action.UPLOADED, UUID(int=0), "", 0, "", "", "")


def row_of(event: Event, state: State) -> list[Any]:
    """`AuditEvent.column_values` of an event."""
    ops, is_native = connection.ops, connection.features.has_native_uuid_field
    values = {
        "event_id": event.event_id if is_native else event.event_id.hex,
        "occurred_at": ops.adapt_datetimefield_value(event.occurred_at),
        "action": event.action.value,
        "org_id": event.org_id if is_native else event.org_id.hex,
        "digest": event.digest,
        "size_bytes": ops.adapt_integerfield_value(event.size_bytes, "BigIntegerField"),
        "file_name": event.file_name,
        "backend": event.backend,
        "location": event.location,
        "skipped": event.skipped,
        "subject": event.subject,
        "payload": event.payload(),
        "due_at": ops.adapt_datetimefield_value(timezone.now()),
    }
    return [values.get(name, value) for name, value in _columns(connection.vendor, state)]


@cache
def _columns(vendor: str, state: State) -> list[tuple[str, Any]]:
    """Names of the columns, and what is in those that are the same for all new events."""
    names = [name for name, _ in inserted_fields()]
    return list(zip(names, AuditEvent.column_values(_ANY, state), strict=True))
