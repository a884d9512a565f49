"""How far publishing is: a few figures, each read by an index, so that none costs more the longer the trail is."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Case, F, Min, QuerySet, When
from django.utils import timezone

from audit.models import AuditEvent, LastPublished

COUNTED = 100_000  # as far as counts go: who has so many waiting needs no exact number
FIRST = 2_000  # events, the next to be taken, that are looked at for how long they wait


@dataclass(frozen=True, slots=True)
class Delivery:
    """What waits, what failed, and what went out last. A count of COUNTED stands for that many or more."""

    pending: int
    oldest_pending_seconds: float | None  # that it has waited; None when nothing is pending
    failed: int
    last_sequence: int | None  # the stream's, of the batch published last; None when none was
    last_published_at: datetime | None
    unsealed: int


def delivery_now() -> Delivery:
    """As the database has it now, in five short queries; raises django.db.Error."""
    pending = _where("state = 'pending'")
    last = LastPublished.objects.filter(pk=1).first()
    return Delivery(
        pending=pending[:COUNTED].count(),
        oldest_pending_seconds=_longest_wait(pending),
        failed=_where("state = 'failed'").order_by("occurred_at", "id")[:COUNTED].count(),
        last_sequence=last.sequence if last else None,
        last_published_at=last.published_at if last else None,
        unsealed=unsealed(),
    )


def unsealed() -> int:
    """Events that are not sealed yet, and so in no total."""
    return _where("position IS NULL")[:COUNTED].count()


def seal_lag() -> float:
    """Seconds that the oldest event without a place in the chain has waited for it; 0 when all have one."""
    return _longest_wait(_where("position IS NULL")) or 0.0


def _longest_wait(events: QuerySet[AuditEvent]) -> float | None:
    """Seconds since the first of these came in or were sent again; of those that were refused, since they happened.

    What is refused, and on SQLite what is claimed, is due later: so it is not of the very first one alone.
    """
    since = Case(When(last_error="", then=F("due_at")), default=F("occurred_at"))
    oldest = events.annotate(since=since).values("since")[:FIRST].aggregate(oldest=Min("since"))["oldest"]
    return None if oldest is None else max(0.0, (timezone.now() - oldest).total_seconds())


def _where(condition: str) -> QuerySet[AuditEvent]:
    """Written out and in the order of the partial index of the same condition.

    Only then does SQLite see that it may use it, and PostgreSQL prefers it whatever its statistics say.
    """
    return AuditEvent.objects.extra(where=[condition]).only("id").order_by("id")  # noqa: S610  (conditions of our own)
