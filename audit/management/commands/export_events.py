"""Writes events of the trail to a file: CSV for people and spreadsheets, JSON lines for programs."""

import os
import signal
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

import django.db
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from rest_framework.serializers import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from audit.api_filters import EventQuery
from audit.event_filters import EventFilter
from audit.export import Watcher, compressed, export, whole_file
from audit.models import AuditEvent
from common.status_command import INTERRUPTED


class Command(BaseCommand):
    help = "Export events of the trail, oldest first, as CSV or JSON lines; to standard output or, whole, to a file."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--format", choices=["csv", "jsonl"], default="csv", help="(default: %(default)s)")
        parser.add_argument("--output", type=Path, metavar="FILE", help="(default: standard output)")
        parser.add_argument("--compress", action="store_true", help="with gzip")
        for name, field in EventQuery().fields.items():
            parser.add_argument(
                f"--{name.replace('_', '-')}", dest=name, metavar="VALUE", help=str(field.help_text or "")
            )

    def handle(self, *, format: str, output: Path | None, compress: bool, **options: Any) -> None:  # noqa: A002
        """Export, and say how many events that was."""
        asked = _asked({name: options[name] for name, _ in EventQuery().fields.items() if options[name] is not None})
        try:
            with ExitStack() as stack:
                stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, signal.default_int_handler))
                file: IO[bytes] = stack.enter_context(whole_file(output)) if output else sys.stdout.buffer
                if compress:
                    file = stack.enter_context(compressed(file))
                count = export(asked, format, file, stack.enter_context(_progress(asked)))
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            _leave_standard_output()
            raise CommandError("Nobody reads on.") from None
        except OSError as error:
            raise CommandError(f"{output or 'standard output'}: {error.strerror or error}") from error
        except django.db.Error as error:
            raise CommandError(f"The database failed: {error}") from error
        except KeyboardInterrupt:
            raise CommandError("Interrupted; no file was written.", returncode=INTERRUPTED) from None
        self.stderr.write(f"{count} event{'' if count == 1 else 's'} exported.", self.style.SUCCESS)


def _asked(values: dict[str, str]) -> EventFilter:
    try:
        query = EventQuery.read(values)
    except ValidationError as error:
        wrong = cast(dict[str, list[str]], error.detail)
        problems = [f"--{name.replace('_', '-')}: {texts[0]}" for name, texts in wrong.items()]
        raise CommandError(" ".join(problems)) from error
    query.setdefault("to", timezone.now())  # else a busy trail would never end
    return EventFilter.of(query)


@contextmanager
def _progress(asked: EventFilter) -> Iterator[Watcher]:
    """A bar, on a terminal: how far the export is in time, for counting events would take as long as exporting."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda count, time: None
        return
    times = AuditEvent.objects.filter(asked.times).order_by("occurred_at", "id").values_list("occurred_at", flat=True)
    first, last = times.first(), times.last()
    columns = [TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=console) as bar:
        seconds = (last - first).total_seconds() if first and last else 0
        task = bar.add_task("0 events", total=max(seconds, 1))
        yield lambda count, time: bar.update(
            task, description=f"{count} events", completed=(time - first).total_seconds() if first else 0
        )


def _leave_standard_output() -> None:
    """Python flushes it at exit, and would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
