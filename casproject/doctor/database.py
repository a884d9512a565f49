"""The database: its version, what is migrated, how its clock goes, whether it has room for all threads."""

import time
from collections.abc import Iterator

from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from casproject.doctor.findings import Finding, fail, ok, warn

PART = "database"
REMEDY = "Is DATABASE_URL right, and the database up and reachable from here?"
MOST_APART = 2.0  # seconds


def examine() -> Iterator[Finding]:
    """Raises django.db.Error when it cannot be reached."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT sqlite_version()" if connection.vendor == "sqlite" else "SHOW server_version")
        version = cursor.fetchone()[0]
    where = connection.settings_dict
    place = where["NAME"] if connection.vendor == "sqlite" else f"{where['NAME']} at {where['HOST'] or 'this machine'}"
    yield ok(PART, f"{connection.display_name} {version}, {place}")
    yield _migrations()
    if connection.vendor == "postgresql":
        yield _clock()
        yield _connections()


def _migrations() -> Finding:
    executor = MigrationExecutor(connection)
    if plan := executor.migration_plan(executor.loader.graph.leaf_nodes()):
        names = ", ".join(str(migration) for migration, _ in plan[:3])
        return fail(PART, f"{len(plan)} migrations are not applied: {names}", "`manage.py migrate`")
    return ok(PART, "all migrations are applied")


def _clock() -> Finding:
    with connection.cursor() as cursor:
        before = time.time()
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
        apart = abs(float(cursor.fetchone()[0]) - (before + time.time()) / 2)
    if apart > MOST_APART:
        remedy = "Keep both machines' clocks by NTP: leases, retention and the order of events go by them."
        return warn(PART, f"its clock and this machine's are {apart:.1f} seconds apart", remedy)
    return ok(PART, f"its clock and this machine's are {apart * 1000:.0f} ms apart")


def _connections() -> Finding:
    with connection.cursor() as cursor:
        cursor.execute("SHOW max_connections")
        most = int(cursor.fetchone()[0])
    needed = settings.CAS_WEB_WORKERS * settings.CAS_WEB_THREADS
    if needed >= most:
        text = f"it takes {most} connections, and this web server alone may need {needed}"
        return warn(PART, text, "Raise max_connections, lower CAS_WEB_THREADS, or put a pooler between.")
    return ok(PART, f"it takes {most} connections, of which this web server may need {needed}")
