"""The trail into a file, oldest event first: any number of events in little memory.

Read in batches that go on from a place in an index: no transaction and no cursor stays open meanwhile, so neither
SQLite's writers nor PostgreSQL's vacuum wait for an export.
"""

import gzip
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, NamedTuple, cast

from audit import api_pages
from audit.api_formats import csv_lines, json_lines
from audit.api_pages import Position
from audit.api_rows import FIELDS, EventSerializer, event_values
from audit.event_filters import EventFilter
from common.folders import sync_folder

BATCH = 1000
COLUMNS = list(EventSerializer().fields)

Watcher = Callable[[int, datetime], None]


class Piece(NamedTuple):
    """A batch of an export."""

    content: bytes
    events: int
    reached: datetime | None  # the time of the last event; None: there are no more


def pieces(asked: EventFilter, form: str) -> Iterator[Piece]:
    """What is asked for as `csv` or `jsonl`, a batch at a time. Raises django.db.Error."""
    after: Position | None = None
    header = csv_lines([], COLUMNS, header=True) if form == "csv" else ""
    yield Piece(header.encode(), 0, None)
    while True:
        page = api_pages.read_page(asked, FIELDS, BATCH, after, newest_first=False)
        rows = [event_values(row) for row in page.rows]
        text = csv_lines(rows, COLUMNS, header=False) if form == "csv" else json_lines(rows)
        after = page.end
        yield Piece(text.encode(), len(rows), after.occurred_at if after else None)
        if after is None:
            return


def export(asked: EventFilter, form: str, file: IO[bytes], watch: Watcher = lambda count, time: None) -> int:
    """Write what is asked for as `csv` or `jsonl`; return how many events it is.

    After each batch `watch` is told how many there are so far and which time was reached. Raises django.db.Error,
    OSError.
    """
    count = 0
    for piece in pieces(asked, form):
        file.write(piece.content)
        count += piece.events
        if piece.reached is not None:
            watch(count, piece.reached)
    return count


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name once it is whole and on disk, in place of what had that name.

    Raises OSError.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def compressed(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Gzip over a file, without name or time in it: the same events are the same bytes."""
    with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
        yield cast(IO[bytes], packed)
