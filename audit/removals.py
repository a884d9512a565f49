"""What stands in the chain for events that retention removed, as a signed statement."""

from uuid import UUID

from audit import chain
from audit.events import go_timestamp
from audit.models import AuditEvent, RemovedEvents
from audit.statements import Removal


def statement_of(trail_id: UUID, removed: RemovedEvents) -> Removal:
    """The statement that a row makes, with its signature."""
    return Removal(
        trail_id=str(trail_id),
        first_position=removed.first_position,
        last_position=removed.last_position,
        previous_link=bytes(removed.previous_link).hex(),
        link=bytes(removed.link).hex(),
        removed_at=go_timestamp(chain.microseconds_of(removed.removed_at) * 1000),
        key_id=removed.key_id,
        signature=removed.signature,
    )


def covering(position: int) -> RemovedEvents | None:
    """The stretch that holds a position."""
    found = RemovedEvents.objects.filter(last_position__gte=position).order_by("last_position").first()
    return found if found is not None and found.first_position <= position else None


def first_event_within(removed: RemovedEvents) -> AuditEvent | None:
    """An event that stands where all were removed."""
    within = AuditEvent.objects.filter(position__gte=removed.first_position, position__lte=removed.last_position)
    return within.only("id", "position", "event_id").order_by("position").first()
