"""Sweeps by hand what beat has swept every hour: leftovers of uploads."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from artifacts import sweeping
from artifacts.management.commands.mint_token import seconds


class Command(BaseCommand):
    help = "Remove what crashed or abandoned uploads left behind."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--older-than",
            type=seconds,
            help="last written so long ago, such as 90m, 24h, 7d (default: CAS_UPLOAD_EXPIRES_HOURS)",
        )

    def handle(self, *, older_than: int | None, **options: Any) -> None:
        """Sweep all locations, and say how much that removed; fail when there is no such time."""
        try:
            removed = sweeping.sweep(None if older_than is None else timedelta(seconds=older_than))
        except OverflowError as error:
            raise CommandError("--older-than is too long ago.") from error
        self.stdout.write(f"Removed {removed} leftover(s) of uploads.")
