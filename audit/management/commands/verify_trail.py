"""Verifies the trail, by hand or from cron. Needs the database, for reading, and a public key; no secret."""

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import django.db
from django.core.management.base import CommandError
from django.db.models import Max
from django.template.defaultfilters import pluralize
from rich.console import Console
from rich.progress import Progress

from audit import freshness, verification, witnesses
from audit.findings import Finding, Report
from audit.keys import KeyFileError, read_public_key
from audit.models import AuditEvent
from audit.statements import KeyRing
from audit.witnesses import Place
from common.status_command import NOT_DONE, StatusCommand

SOUND, TAMPERED = 0, 1


def position(text: str) -> int:
    """A position in the chain; raises ArgumentTypeError."""
    if not text.isdecimal() or not 0 < int(text) < 2**63:
        raise ArgumentTypeError(f"{text!r} is not a position; they count from 1")
    return int(text)


class Command(StatusCommand):
    help = (
        "Compute the chain of audit events anew and compare it with what is stored and with what was signed. "
        "Exit status: 0 all is as it was sealed, 1 it is not, 2 it could not be verified."
    )
    requires_system_checks = []  # whoever verifies need not have what the server has

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--public-key", type=Path, action="append", default=[], help="PEM; repeat it for keys of earlier times"
        )
        parser.add_argument(
            "--from-position",
            type=position,
            default=1,
            help="scan from there, or from the last checkpoint if that is before it (default: %(default)s)",
        )
        parser.add_argument(
            "--checkpoint",
            metavar="FILE",
            help="checkpoints kept elsewhere, as `audit_stream read` prints them; -: stdin",
        )
        parser.add_argument("--json", action="store_true", help="print the report as JSON")

    def handle(self, *, public_key: list[Path], from_position: int, checkpoint: str | None, **options: Any) -> None:
        """Verify, print the report, and leave with its exit status."""
        try:
            keys = KeyRing(map(read_public_key, public_key))
            report = _scan(keys, from_position)
            freshness.add_to(report)
            places = _compare(report, keys, checkpoint) if checkpoint else None
        except KeyFileError as error:
            raise CommandError(f"--public-key: {error}", returncode=NOT_DONE) from error
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"--checkpoint: {error}", returncode=NOT_DONE) from error
        except django.db.Error as error:
            raise CommandError(f"The database failed: {error}", returncode=NOT_DONE) from error
        except (ValueError, TypeError, OverflowError) as error:
            # Of what the server wrote there is nothing like it; only SQLite takes it.
            raise CommandError(
                f"The trail holds a value that is none of its kind: {error}", returncode=TAMPERED
            ) from error
        if keys and report.is_sound and not report.last_position:
            raise CommandError(
                "Nothing was ever sealed in this database, or all of it was removed: there is nothing to verify. "
                "Is DATABASE_URL that of the trail?",
                returncode=NOT_DONE,
            )
        self.stdout.write(_as_json(report, places) if options["json"] else _as_text(report, places))
        sys.exit(SOUND if report.is_sound else TAMPERED)


def _scan(keys: KeyRing, from_position: int) -> Report:
    end = AuditEvent.objects.aggregate(end=Max("position"))["end"] or 0
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("positions", total=max(end - from_position + 1, 0))
        return verification.verify(
            keys, from_position, lambda position: progress.update(task, completed=max(position - from_position + 1, 0))
        )


def _compare(report: Report, keys: KeyRing, file: str) -> "Counter[Place]":
    """Compare with checkpoints in a file; return how many agree, by where they are. Raises OSError, CommandError."""
    places: Counter[Place] = Counter()
    found = False
    with ExitStack() as stack:
        lines = sys.stdin if file == "-" else stack.enter_context(Path(file).open())
        for outcome in witnesses.compare(witnesses.checkpoints_in(lines), keys):
            found = True
            if isinstance(outcome, Finding):
                report.add(outcome)
            else:
                places[outcome] += 1
    if not found:
        raise CommandError("--checkpoint: there is no checkpoint of this trail in it.", returncode=NOT_DONE)
    return places


def _as_json(report: Report, places: "Counter[Place] | None") -> str:
    counts = {
        "checkpoints_agreeing": None if places is None else places[Place.IN_TRAIL],
        "checkpoints_removed": None if places is None else places[Place.REMOVED],
    }
    return json.dumps({**report.as_dict(), **counts}, indent=2)


def _as_text(report: Report, places: "Counter[Place] | None") -> str:
    lines = [
        f"trail {report.trail_id}, positions {report.first_position} to {report.last_position}: "
        f"{report.events} events, {report.removed} removed by retention, {report.unsealed} not sealed yet",
        f"{report.checkpoints} checkpoints, {report.signed_checkpoints} with a valid signature",
    ]
    if not report.signatures_checked:
        lines.append("No signature was checked, for no --public-key was given: links alone prove little.")
    if last := report.last_signed or report.last_checkpoint:
        kind = "signed " if report.last_signed else ""
        lines.append(f"last {kind}checkpoint: {last.number} of {last.time}, for position {last.position}")
    if places is not None:
        lines.append(f"{places[Place.IN_TRAIL]} checkpoints that were given are in the trail")
        if removed := places[Place.REMOVED]:
            compared = "compared by age, number, and the links at the edges of its notes"
            lines.append(f"{removed} are in stretches that retention removed: {compared}")
    lines += [f"WRONG {finding}" for finding in report.findings]
    if report.finding_count > len(report.findings):
        lines.append(f"and {report.finding_count - len(report.findings)} more")
    wrong = f"{report.finding_count} thing{pluralize(report.finding_count, ' is,s are')} wrong."
    lines.append("Everything is as it was sealed." if report.is_sound else wrong)
    return "\n".join(lines)
