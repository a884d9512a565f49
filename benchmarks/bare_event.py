"""What the database alone takes for an event: its driver commits a label, and a label with an event, in turn.

The same statements and values as an upload's, prepared before the clock starts, on the stack's own database, whose
processes rest meanwhile: no Django, no signal, no thread. `measure` runs this module in the stack's environment.
"""

import json
import os
import time
import uuid
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from benchmarks.audit_cost import all_down, compare
from benchmarks.ours import Ours
from benchmarks.report import Report

_PAIRS = 500  # a round
_MIB = 1024**2

Statement = tuple[str, Sequence[Any]]


def measure(stack: Ours, rounds: int, report: Report) -> None:
    """Add milliseconds of a commit with and without an event, and their difference."""
    for _ in range(rounds):
        stack.settle()
        with all_down(stack):
            figures = json.loads(stack.python("-m", "benchmarks.bare_event"))
        report.add(f"one event, {stack.name}", "the row alone", figures)


def _main() -> None:
    import django  # noqa: PLC0415

    django.setup()
    from django.db import connection  # noqa: PLC0415

    connection.ensure_connection()
    figures = compare(lambda count: _commit(connection, _statements()[:count]), _PAIRS, 2, 1)
    del figures["cost, %"]  # of a commit, and not of a transfer
    print(json.dumps(figures))


def _statements() -> list[Statement]:
    """A new artifact's label and its event, as the driver wants them."""
    from django.db import connection  # noqa: PLC0415
    from django.utils import timezone  # noqa: PLC0415

    from artifacts import labels  # noqa: PLC0415
    from artifacts.models import Location  # noqa: PLC0415
    from audit import models  # noqa: PLC0415
    from audit.event_rows import row_of  # noqa: PLC0415
    from audit.events import Action, Event  # noqa: PLC0415

    digest, location = os.urandom(32).hex(), Location.objects.values_list("pk", flat=True)[0]
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    event = Event(
        event_id=uuid.uuid4(),
        timestamp_ns=time.time_ns(),
        action=Action.UPLOADED,
        org_id=uuid.UUID(int=1),
        digest=digest,
        size_bytes=_MIB,
        file_name="",
        backend="FILESYSTEM",
        location="default",
    )
    label = (digest, location, _MIB, "", now, now)
    pairs = [(labels._UPSERT, label), (models.insertion(), row_of(event, models.State.PENDING))]
    return [(insert.by_size[1].of_driver[connection.vendor], values) for insert, values in pairs]


def _commit(connection: Any, statements: list[Statement]) -> float:
    """Seconds of one transaction."""
    driver = connection.connection
    if connection.vendor == "postgresql":
        import psycopg  # noqa: PLC0415  (nobody else needs libpq)

        cursor, begin, sent_together = psycopg.RawCursor(driver), "BEGIN", driver.pipeline
    else:
        cursor, begin, sent_together = driver.cursor(), "BEGIN IMMEDIATE", nullcontext
    started = time.perf_counter()
    with sent_together():
        cursor.execute(begin)
        for statement, values in statements:
            cursor.execute(statement, values)
    cursor.execute("COMMIT")
    return time.perf_counter() - started


if __name__ == "__main__":
    _main()
