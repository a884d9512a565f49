"""Scrubs locations by hand or from cron: reads all that they hold, and reports what is corrupt or missing."""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

import django.db
from django.core.management.base import CommandError

from artifacts.exceptions import StorageError
from artifacts.location_faults import explain
from artifacts.management.arguments import byte_size
from artifacts.management.scrub_progress import Progress, Report
from artifacts.models import Location
from artifacts.rate_limit import RateLimit
from artifacts.scrub_lease import LeaseLost, ScrubRunning
from artifacts.scrubbing import Stopped
from common.status_command import INTERRUPTED, NOT_DONE, StatusCommand

SOUND, DAMAGED = 0, 1


class Command(StatusCommand):
    help = (
        "Read all artifacts again and compare them with their digests, going on where an earlier run stopped. "
        "Exit status: 0 all are sound, 1 some are corrupt or missing, 2 it could not be done in full, 130 interrupted."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--location", metavar="BACKEND/NAME", help="this one alone (default: all)")
        parser.add_argument("--rate", type=byte_size, default=0, help="bytes a second, such as 50MB (default: any)")
        parser.add_argument("--restart", action="store_true", help="begin anew, even where a pass is unfinished")
        parser.add_argument("--json", action="store_true", help="print the report as JSON")

    def handle(self, *, location: str | None, rate: int, restart: bool, **options: Any) -> None:
        """Scrub, print the report, and leave with its exit status."""
        try:
            locations = _find(location)
            reports, is_stopped = _scrub_all(locations, RateLimit(rate), restart=restart)
            text = json.dumps([report.as_dict() for report in reports], indent=2)
        except django.db.Error as error:
            raise CommandError(f"The database failed: {error}", returncode=NOT_DONE) from error
        self.stdout.write(text if options["json"] else "\n".join(report.as_text() for report in reports))
        sys.exit(INTERRUPTED if is_stopped else max((_status(report) for report in reports), default=SOUND))


def _find(name: str | None) -> list[Location]:
    locations = Location.objects.order_by("backend", "name")
    if name is None:
        return list(locations)
    backend, _, name = name.partition("/")
    found = list(locations.filter(backend=backend, name=name))
    if not found:
        raise CommandError(f"There is no location {backend}/{name}.", returncode=NOT_DONE)
    return found


def _scrub_all(locations: Sequence[Location], limit: RateLimit, *, restart: bool) -> tuple[list[Report], bool]:
    reports: list[Report] = []
    with Progress() as progress:
        for location in locations:
            report = Report(location)
            reports.append(report)
            try:
                progress.scrub(report, limit, restart=restart)
            except Stopped:
                return reports, True
            except (StorageError, ScrubRunning, LeaseLost) as error:
                report.error = explain(error, location)
    return reports, False


def _status(report: Report) -> int:
    if report.error or report.unreadable:
        return NOT_DONE
    return DAMAGED if report.is_damaged else SOUND
