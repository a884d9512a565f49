"""Whether the trail is looked after: what a scan of the chain alone cannot tell."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db.models import Min
from django.utils import timezone

from audit.checkpointing import IDLE
from audit.findings import Finding, Report
from audit.models import AuditEvent

UNSEALED = timedelta(minutes=15)  # that an event may wait; what publishing tries again waits with its next try
STALE = 2 * IDLE  # the age of the last checkpoint


def add_to(report: Report) -> None:
    """Add to a report what waits for too long."""
    unsealed = AuditEvent.objects.filter(position=None)
    report.unsealed = unsealed.count()
    for finding in (*_long_unsealed(), *_stale(report)):
        report.add(finding)


def _long_unsealed() -> Iterator[Finding]:
    # A row is due in the second in which it is inserted, or later.
    waiting = AuditEvent.objects.filter(position=None, due_at__lt=timezone.now() - UNSEALED)
    since = waiting.aggregate(since=Min("due_at"))["since"]
    if since is not None:
        event = waiting.order_by("id").only("id", "event_id")[0]
        yield Finding(f"waits to be sealed since {since:%Y-%m-%d %H:%M} UTC", None, event.pk, str(event.event_id))


def _stale(report: Report) -> Iterator[Finding]:
    if not report.last_position:
        return
    last = report.last_signed if report.signatures_checked else report.last_checkpoint
    kind = "signed checkpoint" if report.signatures_checked else "checkpoint"
    if last is None:
        if report.signatures_checked or report.events:
            yield Finding(f"there is no {kind} from position {report.first_position} on", report.last_position)
    elif timezone.now() - datetime.fromisoformat(last.time) > STALE:
        problem = f"the last {kind} is of {last.time}: the end of the trail was cut off, or nothing seals it"
        yield Finding(problem, last.position + 1)
