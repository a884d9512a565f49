"""Retention by hand: what the maintenance worker does every ten minutes."""

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

import django.db
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.template.defaultfilters import pluralize

from audit import retention
from audit.chain_reading import RefusedError
from audit.checks import LONGEST_RETENTION
from audit.keys import KeyFileError


def days(text: str) -> float:
    """An age in days; raises ArgumentTypeError."""
    try:
        age = float(text)
    except ValueError:
        age = -1
    if not 0 < age <= LONGEST_RETENTION:
        raise ArgumentTypeError(f"{text!r} is not a number of days above 0")
    return age


class Command(BaseCommand):
    help = (
        "Remove events that are older than AUDIT_RETENTION_DAYS from the trail, in small batches. What is pending or "
        "failed stays; usage totals stay; the chain can still be verified."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--days", type=days, help="another age than AUDIT_RETENTION_DAYS")
        parser.add_argument("--dry-run", action="store_true", help="only say how many would go")
        parser.add_argument(
            "--accept-unsigned",
            action="store_true",
            help="there was no key for a while: sign the notes of that time, and take its checkpoints as they are",
        )

    def handle(self, *, days: float | None, dry_run: bool, accept_unsigned: bool, **options: Any) -> None:
        """Remove, and say how many."""
        age = days if days is not None else settings.AUDIT_RETENTION_DAYS
        if not age:
            raise CommandError("AUDIT_RETENTION_DAYS is 0: events are kept for ever. Give an age with --days.")
        try:
            before = retention.cutoff(age)
            if dry_run:
                count = retention.expired(before)
                are = pluralize(count, " is,s are")
                self.stdout.write(f"{count} event{are} older than {age:g} day{pluralize(age)} and would go.")
                return
            for said in retention.sign_notes(before) if accept_unsigned else ():
                self.stdout.write(said)
            removed = sum(retention.remove_expired(before, accepts_unsigned=accept_unsigned))
            left = retention.expired(before)
        except (RefusedError, KeyFileError) as error:
            raise CommandError(str(error)) from error
        except django.db.Error as error:
            raise CommandError(f"The database failed: {error}") from error
        were = pluralize(removed, " that was,s that were")
        self.stdout.write(f"Removed {removed} event{were} older than {age:g} day{pluralize(age)}.")
        if left:
            self.stdout.write(
                f"{left} stay{pluralize(left, 's,')} until the worker has written a checkpoint behind them."
            )
