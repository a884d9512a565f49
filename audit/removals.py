"""What stands in the chain for events that retention removed, as a signed statement."""

import logging
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from audit.models import AuditEvent, RemovedEvents
from audit.statements import KeyRing, Removal, Verdict, go_time

logger = logging.getLogger(__name__)


def statement_of(trail_id: UUID, removed: RemovedEvents) -> Removal:
    """The statement that a row makes, with its signature."""
    return Removal(
        trail_id=str(trail_id),
        first_position=removed.first_position,
        last_position=removed.last_position,
        previous_link=bytes(removed.previous_link).hex(),
        link=bytes(removed.link).hex(),
        removed_at=go_time(removed.removed_at),
        expired_before="" if removed.expired_before is None else go_time(removed.expired_before),
        checkpoint_number="" if removed.checkpoint_number is None else str(removed.checkpoint_number),
        key_id=removed.key_id,
        signature=removed.signature,
    )


def name_of(removed: RemovedEvents) -> str:
    """How a row is called in what is said of it."""
    return f"The note that retention removed {removed}"


def sign(trail_id: UUID, removed: RemovedEvents, key: Ed25519PrivateKey) -> None:
    """Put the signature of what the row says into it."""
    statement = statement_of(trail_id, removed).signed_with(key)
    removed.key_id, removed.signature = statement.key_id, statement.signature


def covering(position: int) -> RemovedEvents | None:
    """The stretch that holds a position."""
    found = RemovedEvents.objects.filter(last_position__gte=position).order_by("last_position").first()
    return found if found is not None and found.first_position <= position else None


def first_event_within(removed: RemovedEvents) -> AuditEvent | None:
    """An event that stands where all were removed."""
    within = AuditEvent.objects.filter(position__gte=removed.first_position, position__lte=removed.last_position)
    return within.only("id", "position", "event_id").order_by("position").first()


def merge_neighbours(trail_id: UUID, removed: RemovedEvents, ring: KeyRing) -> None:
    """Let a stretch take in those that it touches, unless somebody else may have written them."""
    before = RemovedEvents.objects.filter(last_position=removed.first_position - 1).first()
    after = RemovedEvents.objects.filter(first_position=removed.last_position + 1).first()
    for other in filter(None, (before, after)):
        fits = other is before or bytes(other.previous_link) == bytes(removed.link)
        if not fits or ring.judge(statement_of(trail_id, other)) is not (Verdict.VALID if ring else Verdict.UNSIGNED):
            logger.warning("%s is not signed with a known key; it stays apart", name_of(other))
            continue
        if other is before:
            removed.first_position, removed.previous_link = other.first_position, other.previous_link
        else:
            removed.last_position, removed.link = other.last_position, other.link
            removed.checkpoint_number = other.checkpoint_number
        expired = (removed.expired_before, other.expired_before or other.removed_at)
        removed.expired_before = max(filter(None, expired))
        other.delete()
