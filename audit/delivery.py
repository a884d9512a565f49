"""How far publishing is: a few figures, each read by an index, so that none costs more the longer the trail is."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet
from django.utils import timezone

from audit.models import AuditEvent, LastPublished

COUNTED = 100_000  # as far as counts go: who has so many waiting needs no exact number


@dataclass(frozen=True, slots=True)
class Delivery:
    """What waits, what failed, and what went out last. A count of COUNTED stands for that many or more."""

    pending: int
    oldest_pending_seconds: float | None  # since it happened; None when nothing is pending
    failed: int
    last_sequence: int | None  # the stream's, of the batch published last; None when none was
    last_published_at: datetime | None
    unsealed: int


def delivery_now() -> Delivery:
    """As the database has it now, in five short queries; raises django.db.Error."""
    pending = _where("state = 'pending'")
    oldest = pending.values_list("occurred_at", flat=True).first()
    last = LastPublished.objects.filter(pk=1).first()
    return Delivery(
        pending=pending[:COUNTED].count(),
        oldest_pending_seconds=None if oldest is None else max(0.0, (timezone.now() - oldest).total_seconds()),
        failed=_where("state = 'failed'").order_by("occurred_at", "id")[:COUNTED].count(),
        last_sequence=last.sequence if last else None,
        last_published_at=last.published_at if last else None,
        unsealed=_where("position IS NULL")[:COUNTED].count(),
    )


def _where(condition: str) -> QuerySet[AuditEvent]:
    """Written out and in the order of the partial index of the same condition.

    Only then does SQLite see that it may use it, and PostgreSQL prefers it whatever its statistics say.
    """
    return AuditEvent.objects.extra(where=[condition]).only("id").order_by("id")  # noqa: S610  (conditions of our own)
