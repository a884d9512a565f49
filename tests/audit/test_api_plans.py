"""Pages of events are read by an index, whatever is asked for, and from where the page before ended."""

import re
from typing import Any

import pytest
from django.db import connection

from audit import api_pages
from audit.api_filters import EventPageQuery
from audit.api_pages import Position
from audit.api_rows import FIELDS
from audit.event_filters import EventFilter
from audit.models import AuditEvent
from tests.audit.test_api_events import NOON
from tests.factories import ORGANIZATION, digest_of, make_row

pytestmark = pytest.mark.django_db

DIGEST = str(digest_of(b"content"))


def plans_of(query: dict[str, str], *, newest_first: bool) -> list[str]:
    """What the database would do for each query of a page."""
    asked: list[tuple[str, Any]] = []

    def remember(execute: Any, sql: str, params: Any, *rest: Any) -> Any:
        asked.append((sql, params))
        return execute(sql, params, *rest)

    filters = EventFilter.of(EventPageQuery.read(query))
    with connection.execute_wrapper(remember):
        api_pages.read_page(filters, FIELDS, 10, Position(NOON.replace(year=2100), 1), newest_first=newest_first)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")  # what it does with a small table says nothing
            # Nor does what another test made it count.
            cursor.execute("UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE relname = 'audit_auditevent'")
        plans = []
        for sql, params in asked:
            cursor.execute(f"EXPLAIN {'QUERY PLAN ' if connection.vendor == 'sqlite' else ''}{sql}", params)
            plans.append("\n".join(str(row[-1]) for row in cursor.fetchall()))
    return plans


@pytest.fixture(autouse=True)
def _new_table(db: None) -> None:
    """What other tests left of theirs in table and indexes would have a say in the plans."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {AuditEvent._meta.db_table}")


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ({}, "audit_time"),
        ({"from": "2026-11-24"}, "audit_time"),
        ({"org": str(ORGANIZATION)}, "audit_organization"),
        ({"digest": DIGEST}, "audit_artifact"),
        ({"digest": DIGEST[:11], "action": "uploaded"}, "audit_artifact"),
        ({"action": "uploaded"}, "audit_time"),
        ({"file_name": "content"}, "audit_time"),
        ({"backend": "FILESYSTEM"}, "audit_time"),
        ({"location": "default"}, "audit_time"),
        ({"state": "failed"}, "audit_failed"),
        ({"state": "failed", "org": str(ORGANIZATION), "from": "2026-11-24"}, "audit_failed"),
        ({"state": "pending"}, "audit_pending"),
        ({"state": "published"}, "audit_time"),
        ({"action": "other"}, "audit_other"),
        ({"action": "CASTrailCheckpointed", "from": "2026-11-24"}, "audit_other"),
        ({"digest": DIGEST, "state": "failed", "org": str(ORGANIZATION)}, "audit_artifact"),
        ({"min_size": "1"}, "audit_time"),
        ({"max_size": "9"}, "audit_time"),
        ({"org": str(ORGANIZATION), "file_name": "content"}, "audit_organization"),
    ],
)
@pytest.mark.parametrize("newest_first", [True, False])
def test_pages_are_read_by_an_index(query: dict[str, str], index: str, newest_first: bool) -> None:
    for _ in range(3):
        make_row()
    plans = plans_of(query, newest_first=newest_first)
    assert plans
    for plan in plans:
        assert "Seq Scan" not in plan
        assert not re.search("SCAN audit_auditevent(?! USING (COVERING )?INDEX audit_(pending|failed|other))", plan)
    assert any(index in plan for plan in plans)
