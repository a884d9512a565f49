"""What the database alone takes for an event: its driver commits a label, and a label with an event, in turn.

The same statements and values as an upload's, prepared before the clock starts, on the stack's own database, whose
processes rest meanwhile: no Django, no signal, no thread. `measure` runs this module in the stack's environment.
"""

import json
import os
import time
import uuid
from typing import Any

from benchmarks.audit_cost import all_down, compare
from benchmarks.ours import Ours
from benchmarks.report import Report
from common.prepared import Insert, Part, Rows, together

_PAIRS = 500  # a round
_MIB = 1024**2


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
    figures = compare(lambda count: _commit(connection, _parts()[:count]), _PAIRS, 2, 1)
    del figures["cost, %"]  # of a commit, and not of a transfer
    print(json.dumps(figures))


def _parts() -> list[Part]:
    """What inserts a new artifact's label and its event."""
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
    rows: dict[Insert, Rows] = {labels._UPSERT: [label], models.insertion(): [row_of(event, models.State.PENDING)]}
    return [part for insert, values in rows.items() for part in insert.parts(values)]


def _commit(connection: Any, parts: list[Part]) -> float:
    """Seconds of one transaction."""
    is_postgresql = connection.vendor == "postgresql"
    if is_postgresql:
        import psycopg  # noqa: PLC0415  (nobody else needs libpq)

        cursor, parts = psycopg.RawCursor(connection.connection), together(parts)
    else:
        cursor = connection.connection.cursor()
    statements = [(statement.of_driver[connection.vendor], values) for statement, values in parts]
    if not is_postgresql:
        statements = [("BEGIN IMMEDIATE", ()), *statements, ("COMMIT", ())]
    started = time.perf_counter()
    for statement, values in statements:
        cursor.execute(statement, values)
    return time.perf_counter() - started


if __name__ == "__main__":
    _main()
