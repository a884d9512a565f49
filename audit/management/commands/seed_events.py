"""Fills a trail with made-up events."""

import secrets
from argparse import ArgumentParser
from itertools import islice
from typing import Any

import django.db
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.utils import timezone
from rich.console import Console
from rich.progress import track

from audit.event_rows import row_of
from audit.models import AuditEvent, State
from audit.seeding import events, organizations_of
from common.transactions import write_transaction

BATCH = 2000


class Command(BaseCommand):
    help = "Add made-up events to the trail, for a demonstration or a benchmark. Nothing but retention removes them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--count", type=int, required=True, help="how many events")
        parser.add_argument("--organizations", type=int, default=10, help="(default: %(default)s)")
        parser.add_argument("--days", type=float, default=30, help="up to now (default: %(default)s)")
        parser.add_argument(
            "--state",
            choices=[State.LOCAL.value, State.PUBLISHED.value, State.PENDING.value],
            default=State.LOCAL.value,
            help="pending ones will be published, if NATS_URL is set (default: %(default)s)",
        )
        parser.add_argument(
            "--seed", type=int, help="the same number makes the same events (default: another each time)"
        )

    def handle(
        self, *, count: int, organizations: int, days: float, state: str, seed: int | None, **options: Any
    ) -> None:
        """Insert those that are new in batches, each a transaction; the sealer counts and chains them as any others."""
        if count < 1 or organizations < 1 or days <= 0:
            raise CommandError("--count, --organizations and --days must be more than 0.")
        number = secrets.randbits(32) if seed is None else seed
        made = events(count, organizations_of(organizations), timezone.now(), days, number)
        console = Console(stderr=True)
        stream = iter(track(made, "events", total=count, console=console, disable=not console.is_terminal))
        known = 0
        try:
            for batch in iter(lambda: list(islice(stream, BATCH)), []):
                with write_transaction():
                    known += AuditEvent.objects.filter(event_id__in=[event.event_id for event in batch]).count()
                    AuditEvent.insert([row_of(event, State(state)) for event in batch])
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE")  # plans of queries follow from what is there
        except django.db.Error as error:
            raise CommandError(f"The database failed: {error}") from error
        there = f", {known} were there already" if known else ""
        self.stdout.write(self.style.SUCCESS(f"{count - known} events added{there}; --seed {number} makes them again."))
