"""How long an answer of /api/events/ takes: `python -m benchmarks.api [ROUNDS]`, in the environment of a stack.

For a benchmark's own database, filled by `manage.py seed_events`. Each call is a page of 100 events through all of
Django but the network, by session. First pages, and pages from the oldest tenth on, which go as fast if no page
counts rows from the start.
"""

import statistics
import sys
import time

import django

django.setup()

from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from rich.console import Console
from rich.table import Table

from audit import api_cursor
from audit.models import AuditEvent

USER = "benchmark"


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    client = Client(headers={"Host": "localhost"})
    client.force_login(User.objects.get_or_create(username=USER, is_staff=True, is_superuser=True)[0])
    times = AuditEvent.objects.order_by("occurred_at", "id")
    count = times.count()
    old = times[count // 10]
    organizations = AuditEvent.objects.order_by().values_list("org_id", flat=True).distinct()
    queries: dict[str, dict[str, str]] = {
        "no filter": {},
        "organization": {"org": str(organizations[0])},
        "a day": {"from": f"{old.occurred_at:%Y-%m-%d}"},
        "digest": {"digest": old.digest},
        "digest's first 4": {"digest": old.digest[:4]},
        "action": {"action": "downloaded"},
        "state, none found": {"state": "failed"},
        "file name": {"file_name": "sbom"},
        "file name, none found": {"file_name": "no such name"},
        "size, none found": {"min_size": "1TB"},
    }
    table = Table(title=f"{connection.vendor}, {count} events, median and worst of {rounds}, ms", title_justify="left")
    for column in ("", "first page", "worst", "old page", "worst"):
        table.add_column(column, justify="right" if column else "left")
    client.get("/api/events/")  # what is imported, and connected, at the first request
    cursor = api_cursor.encode((old.occurred_at, old.pk))
    for name, query in queries.items():
        first, later = (_measure(client, {**query, **more}, rounds) for more in ({}, {"cursor": cursor}))
        table.add_row(name, *(f"{value:.1f}" for value in (*first, *later)))
    Console(width=100).print(table)


def _measure(client: Client, query: dict[str, str], rounds: int) -> tuple[float, float]:
    took = []
    for _ in range(rounds):
        begun = time.perf_counter()
        answer = client.get("/api/events/", query)
        took.append((time.perf_counter() - begun) * 1000)
        assert answer.status_code == 200, answer.content  # noqa: S101
    return statistics.median(took), max(took)


if __name__ == "__main__":
    main()
