"""Publishes by hand what the worker would publish, and what it has given up."""

import json
import time
from argparse import ArgumentParser, ArgumentTypeError
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import django.db
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q, QuerySet
from django.utils import timezone
from rich.console import Console
from rich.progress import Progress

from audit import intake, outbox, publisher
from audit.answers import Ack
from audit.models import AuditEvent, State
from common.status_command import INTERRUPTED

LONGEST_CLAIM = outbox.LEASE.total_seconds() + 2  # seconds; also where a claim is no lease
PAUSE = 0.5  # seconds until what others hold is looked at again


def organization_id(text: str) -> UUID:
    """Read an organization's UUID; raise ArgumentTypeError."""
    try:
        return UUID(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is not a UUID") from error


@dataclass
class Summary:
    """How many events were made pending again, published, refused for good and put off; how many wait in the end."""

    retried: int = 0
    published: int = 0
    failed: int = 0
    put_off: int = 0
    waiting: int = 0
    reason: str = ""  # of the last refusal

    def __str__(self) -> str:
        return f"{self.published} published, {self.failed} refused for good, {self.waiting} waiting."


class Command(BaseCommand):
    help = (
        "Publish the events that are due now. Exit status: 0 all are published; 1 some are not, "
        "or it could not be done; 130 interrupted."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--retry-failed", action="store_true", help="first make events pending that were refused")
        parser.add_argument("--org", type=organization_id, help="only the events of this organization")
        parser.add_argument("--json", action="store_true", help="print the summary as JSON")

    def handle(self, *, retry_failed: bool, org: UUID | None, **options: Any) -> None:
        """Publish, print the summary, and fail unless everything that was due is published."""
        if not settings.NATS_URL:
            raise CommandError("NATS_URL is not set: events are kept in the trail and published nowhere.")
        summary, problem, lacking = Summary(), "", 0
        try:
            intake.take_in()
            events = AuditEvent.objects.filter(org_id=org) if org else AuditEvent.objects.all()
            if retry_failed:
                summary.retried = events.retry_failed()
            try:
                outbox.connect()
                held = _publish(summary, events, org)
                lacking = _wait_for(held, summary, events, org)
            except publisher.Unreachable as error:
                problem = f"NATS is not reachable: {error}."
            summary.waiting = events.filter(state=State.PENDING).count()
        except django.db.Error as error:
            raise CommandError(f"The database failed: {error}") from error
        except KeyboardInterrupt as interrupt:  # what was on its way is sent again, with the same id
            raise CommandError(f"Interrupted. {summary}", returncode=INTERRUPTED) from interrupt
        self.stdout.write(json.dumps(asdict(summary)) if options["json"] else str(summary))
        if problem:
            raise CommandError(f"{problem} {summary.waiting} events wait.")
        if summary.failed or summary.put_off:
            raise CommandError(
                f"{summary.failed} events were refused for good, {summary.put_off} for now: {summary.reason}"
            )
        if lacking:
            raise CommandError(f"Not published, for another process has taken them or its clock is ahead: {lacking}.")


def _publish(summary: Summary, events: QuerySet[AuditEvent], organization: UUID | None) -> list[int]:
    """Publish what is due, and return the keys of those that another process holds meanwhile."""
    newest = AuditEvent.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    due_by = timezone.now()
    due = events.filter(state=State.PENDING, due_at__lte=due_by).count()
    with Progress(console=Console(stderr=True), disable=not due) as bar:
        task = bar.add_task("publishing", total=due)
        for batch in outbox.publish_batches(due_by, organization):
            _count(batch, summary)
            bar.advance(task, len(batch.events))
    if summary.put_off:
        return []  # what is left may not have been tried
    # A lease is due later. Unlike what backs off it has no error; one that was refused before cannot be told from that.
    held = Q(due_at__lte=due_by) | Q(last_error="")
    return list(events.filter(held, state=State.PENDING, pk__lte=newest).values_list("pk", flat=True))


def _wait_for(held: list[int], summary: Summary, events: QuerySet[AuditEvent], organization: UUID | None) -> int:
    """Wait until others have published what they hold, and publish what they let go of; return how many are not."""
    deadline = time.monotonic() + LONGEST_CLAIM
    own = events.filter(pk__in=held)
    while not summary.put_off and time.monotonic() < deadline and own.filter(state=State.PENDING).exists():
        time.sleep(PAUSE)
        for batch in outbox.publish_batches(timezone.now(), organization):
            _count(batch, summary)
    return own.exclude(state=State.PUBLISHED).count()


def _count(batch: outbox.Batch, summary: Summary) -> None:
    for outcome in batch.outcomes:
        if isinstance(outcome, Ack):
            summary.published += 1
            continue
        summary.failed += outcome.is_permanent
        summary.put_off += not outcome.is_permanent
        summary.reason = outcome.reason
