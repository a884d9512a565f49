"""What sealing and retention cost: `python -m benchmarks.sealing`, on SQLite and on PostgreSQL that syncs.

Seals events that wait, reads them again for a checkpoint, removes them by retention, and seals and removes again while
a client inserts single events, which it also does alone: how long an insert takes is what a request would notice.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from tests.servers import PostgresServer

PROJECT = Path(__file__).resolve().parent.parent
DAY_NS = 86_400 * 10**9
SHARE = 10_000  # of the events, to each measurement


def main() -> None:
    """Run every part in a process of its own for each database, and print a line of JSON for each."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--url", help="measure in the database of this DATABASE_URL (used by this script itself)")
    options = parser.parse_args()
    if options.url:
        measure(options.events)
        return
    for name in ("sqlite", "postgresql"):
        if options.database in {name, "both"}:
            with tempfile.TemporaryDirectory(dir=PROJECT) as folder, database(name, Path(folder)) as url:
                environment = {
                    **os.environ,
                    "CAS_DATA_DIR": folder,
                    "CAS_SECRET_KEY": secrets.token_urlsafe(50),
                    "DATABASE_URL": url,
                    "DJANGO_SETTINGS_MODULE": "casproject.settings",
                }
                command = [sys.executable, "-m", "benchmarks.sealing", "--url", url, "--events", str(options.events)]
                subprocess.run(command, cwd=PROJECT, env=environment, check=True)


@contextmanager
def database(name: str, folder: Path) -> Iterator[str]:
    if name == "sqlite":
        yield f"sqlite:///{folder / 'cas.sqlite3'}"
        return
    server = PostgresServer("-c", "fsync=on")
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


def measure(events: int) -> None:
    import django  # noqa: PLC0415

    django.setup()
    from django.conf import settings  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415

    from audit import checkpointing, retention, sealing  # noqa: PLC0415

    def say(what: str, **figures: object) -> None:
        print(json.dumps({"database": connection.vendor, "what": what, **figures}), flush=True)

    call_command("migrate", verbosity=0)
    fill(events)
    share = min(SHARE, events // 2)

    say("insert alone", **inserts(lambda: time.sleep(5)))
    durations: list[float] = []

    def seal_all(limit: int) -> int:
        count = 0
        while count < limit:
            start = time.perf_counter()
            sealed = sealing.seal_batch()
            durations.append(time.perf_counter() - start)
            if not sealed:
                break
            count += sealed
        return count

    say("seal", **timed(lambda: seal_all(share)), batch=sealing.BATCH, batch_ms=spread(durations))
    durations.clear()
    checkpointing.checkpoint_if_due()
    figures: dict[str, Any] = {}
    say(
        "insert while sealing without a pause",
        **inserts(lambda: figures.update(timed(lambda: seal_all(share)))),
        sealing=figures,
    )

    settings.CAS_CHECKPOINT_SECONDS = 1e-6  # it is time

    def sign() -> int:
        return share if checkpointing.checkpoint_if_due() else 0  # nothing leaves without one behind it

    say("read again for a checkpoint", **timed(sign))
    before = retention.cutoff(1)
    batches = iter(retention.remove_expired(before))

    def remove(limit: int) -> int:
        count = 0
        for removed in batches:
            count += removed
            if count >= limit:
                break
        return count

    say("remove", **timed(lambda: remove(share)), batch=retention.BATCH, pause_ms=retention.PAUSE * 1000)
    figures.clear()
    say("insert while removing", **inserts(lambda: figures.update(timed(lambda: remove(share)))), removing=figures)


def fill(events: int) -> None:
    """Published events of three days ago, of ten organizations: some, then copies of these with ids of their own."""
    from django.db import connection, transaction  # noqa: PLC0415
    from django.utils import timezone  # noqa: PLC0415

    from audit.models import AuditEvent, State  # noqa: PLC0415

    first = min(events, 5000)
    rows = [AuditEvent.column_values(event(3, number % 10), State.PUBLISHED) for number in range(first)]
    names = [
        str(field.column) for field in AuditEvent._meta.local_concrete_fields if field.column not in {"id", "link"}
    ]
    names.remove("event_id")
    names.remove("position")
    names.remove("occurred_at")
    new_id = "gen_random_uuid()" if connection.vendor == "postgresql" else "lower(hex(randomblob(16)))"
    copy = f"""
        INSERT INTO audit_auditevent (event_id, occurred_at, {", ".join(names)})
        SELECT {new_id}, %s, {", ".join(names)} FROM audit_auditevent WHERE id <= {first}
    """  # noqa: S608  (names of the model's own)
    with transaction.atomic():
        AuditEvent.insert(rows)
    with connection.cursor() as cursor:
        for number in range(1, events // first):
            time_ = timezone.now() - timedelta(days=3) + timedelta(seconds=number)
            cursor.execute(copy, [connection.ops.adapt_datetimefield_value(time_)])
        cursor.execute("ANALYZE")


def event(days: int, organization: int) -> Any:
    import uuid  # noqa: PLC0415

    from tests.factories import make_event  # noqa: PLC0415

    return make_event(timestamp_ns=time.time_ns() - days * DAY_NS, org_id=uuid.UUID(int=organization + 1))


def timed(work: Callable[[], int]) -> dict[str, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    count = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"events": count, "per_second": round(count / wall), "cpu_ms_each": round(cpu / max(count, 1) * 1000, 4)}


def inserts(work: Callable[[], object]) -> dict[str, Any]:
    """Milliseconds that inserts of single events take, one after the other, while some work is done."""
    from django.db import connections  # noqa: PLC0415

    from audit.models import AuditEvent, State  # noqa: PLC0415
    from common import group_commit  # noqa: PLC0415

    ended = threading.Event()
    taken: list[float] = []

    def insert() -> None:
        while not ended.wait(0.002):
            values = AuditEvent.column_values(event(0, 0), State.LOCAL)
            start = time.perf_counter()
            group_commit.write(AuditEvent.insert, values)
            taken.append(time.perf_counter() - start)
        connections.close_all()

    thread = threading.Thread(target=insert)
    thread.start()
    try:
        work()
    finally:
        ended.set()
        thread.join()
        group_commit.stop()
    return {"insert_ms": spread(taken)}


def spread(seconds: list[float]) -> dict[str, float]:
    cuts = quantiles(seconds, n=100)
    return {
        name: round(value * 1000, 2)
        for name, value in (("p50", median(seconds)), ("p95", cuts[94]), ("p99", cuts[98]), ("max", max(seconds)))
    }


if __name__ == "__main__":
    main()
