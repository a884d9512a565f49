"""The reference consumer: usage per organization, from the stream alone."""

import json
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.live import Live

from audit import draining
from audit.consumer import Consumer, Received, StreamError
from audit.management.arguments import add_consumer_arguments, add_time_arguments
from audit.management.stopping import Stopping
from audit.management.usage_table import as_dict, as_table, as_text
from audit.stream_usage import Report, StateError, UsageState
from common.status_command import INTERRUPTED

REDRAW = 0.5  # seconds at least between two
CHECK = 30.0  # seconds between two looks whether somebody else reads the consumer

_Chosen = tuple[datetime | None, datetime | None, list[UUID]]


class Command(BaseCommand):
    help = (
        "Compute what each organization uploaded, downloaded and saved, from the events in the stream, each counted "
        "once. What was counted is kept in a file, and the next run goes on from there."
    )
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_consumer_arguments(parser, consumer="artifact-cas-usage")
        add_time_arguments(parser)
        parser.add_argument("--org", type=UUID, action="append", default=[], help="only this one (may be repeated)")
        parser.add_argument("--json", action="store_true", help="print JSON; with --follow, a line for each change")
        parser.add_argument("--state", type=Path, help="the file (default: in CAS_DATA_DIR/usage)")
        parser.add_argument("--rebuild", action="store_true", help="forget the file, make the consumer anew")
        parser.add_argument("--accept-gap", action="store_true", help="go on though the file lacks what was acked")
        how_long = parser.add_mutually_exclusive_group()
        how_long.add_argument("--once", action="store_true", help="end with what is there now (the default)")
        how_long.add_argument("--follow", action="store_true", help="go on until Ctrl-C, and show what comes")

    def handle(
        self,
        *,
        stream: str,
        consumer: str,
        start: datetime | None,
        end: datetime | None,
        org: list[UUID],
        state: Path | None,
        **options: Any,
    ) -> None:
        """Do it; fail with what is wrong with NATS or the file."""
        path = state or settings.CAS_DATA_DIR / "usage" / f"{stream}-{consumer}.sqlite3"
        try:
            with Stopping() as stopping, UsageState(path) as usage, Consumer(stream, consumer) as source:
                if options["rebuild"]:
                    source.restart()
                    usage.clear()
                usage.check(source.standing(), accepts_gap=options["accept_gap"])
                reader, chosen = _Reader(source, usage), (start, end, org)
                if options["follow"]:
                    with _Display(self, is_json=options["json"]) as display:
                        draining.follow(
                            source,
                            reader.apply,
                            should_stop=stopping,
                            say=display.say,
                            tick=lambda: reader.tick(display, chosen),
                        )
                        reader.show(display, chosen, at_once=True)
                    return
                left = draining.drain(source, reader.apply, should_stop=stopping)
                if stopping():
                    raise CommandError("Stopped; the next run goes on from here.", returncode=INTERRUPTED)
                reader.check()
                if left:
                    self.stderr.write(f"Not counted, for another reader of this consumer has them: {left}")
                _Display(self, is_json=options["json"]).show(usage.report(*chosen))
        except (StreamError, StateError) as error:
            raise CommandError(str(error)) from error


class _Reader:
    """Applies batches to the file, and shows now and then what came of them."""

    def __init__(self, source: Consumer, usage: UsageState) -> None:
        self._source = source
        self._usage = usage
        self._is_news = True
        self._due = 0.0
        self._check_due = time.monotonic() + CHECK

    def apply(self, messages: Sequence[Received]) -> None:
        self._usage.apply(messages, self._source.created)
        self._is_news = True

    def check(self) -> None:
        """Raise StateError when somebody else read what is not in the file."""
        self._usage.check(self._source.standing())

    def tick(self, display: "_Display", chosen: _Chosen) -> None:
        """Do what is due now and then."""
        if time.monotonic() > self._check_due:
            self.check()
            self._check_due = time.monotonic() + CHECK
        self.show(display, chosen)

    def show(self, display: "_Display", chosen: _Chosen, *, at_once: bool = False) -> None:
        """Show the usage when it has changed; not all the time, for it is a sum over all events."""
        began = time.monotonic()
        if self._is_news and (at_once or began > self._due):
            display.show(self._usage.report(*chosen))
            self._is_news = False
            self._due = time.monotonic() + max(REDRAW, 10 * (time.monotonic() - began))


class _Display:
    """Where reports are shown, one after the other."""

    def __init__(self, command: BaseCommand, *, is_json: bool) -> None:
        self._command = command
        self._is_json = is_json
        self._console = Console() if command.stdout.isatty() and not is_json else None
        self._stack = ExitStack()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console:
            self._live = self._stack.enter_context(Live(console=self._console, auto_refresh=False))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def say(self, text: str) -> None:
        """A line that stays, above the table if there is one."""
        if self._live:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            self._command.stderr.write(text)
            self._command.stderr.flush()

    def show(self, report: Report) -> None:
        if self._live:
            self._live.update(as_table(report), refresh=True)
        elif self._console:
            self._console.print(as_table(report))
        else:
            self._command.stdout.write(json.dumps(as_dict(report)) if self._is_json else as_text(report))
            self._command.stdout.flush()
