"""Pages of events are read by an index, whatever is asked for, and from where the page before ended."""

import re

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
from tests.plans import forget_counts, plans_of

pytestmark = pytest.mark.django_db

DIGEST = str(digest_of(b"content"))


def plans_of_page(query: dict[str, str], *, newest_first: bool) -> list[str]:
    """What the database would do for each query of a page."""
    filters = EventFilter.of(EventPageQuery.read(query))
    start = Position(NOON.replace(year=2100), 1)
    forget_counts(AuditEvent._meta.db_table)

    def read() -> None:
        api_pages.read_page(filters, FIELDS, 10, start, newest_first=newest_first)

    return [plan for _, plan in plans_of(read, without=["seqscan"])]


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
    plans = plans_of_page(query, newest_first=newest_first)
    assert plans
    for plan in plans:
        assert "Seq Scan" not in plan
        assert not re.search("SCAN audit_auditevent(?! USING (COVERING )?INDEX audit_(pending|failed|other))", plan)
    assert any(index in plan for plan in plans)
