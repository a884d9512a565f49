"""Commands whose exit status is read, by cron or a script."""

import sys
import traceback
from typing import Any

from django.core.management.base import BaseCommand, SystemCheckError

NOT_DONE, INTERRUPTED = 2, 130


class StatusCommand(BaseCommand):
    """A command whose status 1 tells what it found: no error leaves with that one, but with NOT_DONE."""

    def run_from_argv(self, argv: list[str]) -> None:
        """As any command, except for the status of what it does not expect."""
        try:
            super().run_from_argv(argv)
        except Exception:  # noqa: BLE001  (told with its traceback, as otherwise)
            traceback.print_exc()
            sys.exit(NOT_DONE)

    def check(self, *args: Any, **options: Any) -> None:
        """Run the system checks; raises SystemCheckError."""
        try:
            super().check(*args, **options)
        except SystemCheckError as error:
            error.returncode = NOT_DONE
            raise
