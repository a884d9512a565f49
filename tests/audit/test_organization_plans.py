"""Pages of organizations read indexes and stop: no list of events or totals is read whole, nothing is counted."""

import re
import uuid
from collections.abc import Callable

import pytest
from django.db import connection

from audit import organization_events, organization_ranking, organization_usage, organizations, periods
from audit.admin.event_form import EventForm
from audit.admin.organization_list import InOrder
from audit.models import Organization, State
from audit.organization_ranking import Measure
from tests.audit.trails import seal_all
from tests.factories import ORGANIZATION, digest_of, make_row
from tests.plans import plans_of

pytestmark = pytest.mark.django_db

_WHOLE = re.compile(r"Seq Scan|SCAN \w+(?! USING)")


def month() -> periods.Period:
    return periods.preset("30d")


@pytest.fixture(autouse=True)
def _some() -> None:
    for number in range(200):
        make_row(State.LOCAL, org_id=uuid.UUID(int=number % 5))
    for _ in range(10):
        make_row(State.LOCAL)
    seal_all()
    if connection.vendor == "postgresql":  # else it goes by what other tests have left in its statistics
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE audit_auditevent")
    Organization.objects.filter(pk=ORGANIZATION).update(display_name="Acme")


@pytest.mark.parametrize(
    ("read", "index"),
    [
        (lambda: organization_events.top_artifacts(ORGANIZATION, month()), "audit_organization"),
        (lambda: organization_events.recent_events(ORGANIZATION), "audit_organization"),
        (lambda: organization_usage.by_organization([ORGANIZATION, uuid.UUID(int=1)], month()), "audit_usage_"),
        (lambda: organization_usage.over_time(ORGANIZATION, month()), "audit_usage_"),
        (lambda: organization_usage.by_location(ORGANIZATION, month()), "audit_usage_"),
        (lambda: organization_ranking.ranked(Measure.MOVED, month()), "audit_usage"),
        (lambda: organizations.names_of([ORGANIZATION]), "audit_named_organization"),
        (lambda: InOrder(Organization.objects.all(), [], is_reversed=False)[0:3], "audit_organization_name"),
        (lambda: InOrder(Organization.objects.all(), [ORGANIZATION], is_reversed=True)[0:3], "audit_organization_name"),
    ],
)
def test_what_is_read_is_read_by_an_index(read: Callable[[], object], index: str) -> None:
    plans = plans_of(read)
    assert plans
    for sql, plan in plans:
        assert not _WHOLE.search(plan), f"{sql}\n{plan}"
    assert any(index in plan for _, plan in plans)


@pytest.mark.parametrize("seen", [None, frozenset([ORGANIZATION, uuid.UUID(int=1)])], ids=["all", "some"])
def test_whether_digits_are_a_digests_is_asked_by_the_index_of_digests(seen: frozenset[uuid.UUID] | None) -> None:
    form = EventForm({"q": digest_of(b"content").hex[:12]}, seen)
    ((sql, plan),) = [each for each in plans_of(form.asked) if "audit_auditevent" in each[0]]
    assert "LIMIT" in sql
    assert "audit_artifact" in plan
    assert "B-TREE" not in plan
    assert "Sort" not in plan


def test_of_events_only_so_many_are_read() -> None:
    for read in (
        lambda: organization_events.top_artifacts(ORGANIZATION, month()),
        lambda: organization_events.recent_events(ORGANIZATION),
    ):
        ((sql, plan),) = plans_of(read)
        assert "LIMIT" in sql
        assert "B-TREE" not in plan  # of SQLite: put in order after everything was read
        assert "Sort" not in plan
