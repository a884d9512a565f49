"""Lets people sign in again who were locked out."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from people import throttle


class Command(BaseCommand):
    help = "End the locks after failed sign-ins: of this name, and those of all addresses."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the user name")

    def handle(self, *, name: str, **options: Any) -> None:
        """Forget the failures, and say how many locks that ended."""
        count = throttle.unlock(name)
        self.stdout.write(f"{count} lock{'' if count == 1 else 's'} ended.")
