"""The front page: sums that agree with the totals, and words for how events get to the stream."""

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from audit import overview, periods, sealing, sums_of_all
from audit.admin import delivery_health, usage_charts
from audit.admin.overview import _change
from audit.events import Action
from audit.models import (
    AuditEvent,
    LastPublished,
    Organization,
    OrganizationLimit,
    State,
    StreamReport,
    UsageSum,
    UsageTotal,
    WorkerBeat,
)
from audit.stream_state import StreamState
from tests.factories import ORGANIZATION, make_row

pytestmark = pytest.mark.django_db
OTHER = uuid.UUID("2f1c4e46-9b1f-4a1c-9d3e-111111111111")
MB = 2**20


def event(hours_ago: float = 1, **values: Any) -> None:
    time = timezone.now() - timedelta(hours=hours_ago)
    make_row(State.PUBLISHED, timestamp_ns=int(time.timestamp()) * 1_000_000_000, **values)


@pytest.fixture
def usage() -> None:
    """Of two organizations, sealed."""
    event(1, size_bytes=6 * MB)
    event(1, size_bytes=2 * MB, skipped=True)
    event(1, size_bytes=3 * MB, action=Action.DOWNLOADED)
    event(2, size_bytes=MB, org_id=OTHER)
    event(24 * 10, size_bytes=4 * MB)
    sealing.seal()


@pytest.fixture
def log_in(client: Client) -> Callable[..., Client]:
    def enter(*permissions: str, sees: list[uuid.UUID] | None = None) -> Client:
        user = User.objects.create_user("ada", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        if sees is not None:
            limit = OrganizationLimit.objects.create(user=user)
            limit.organizations.set([Organization.objects.get_or_create(pk=each)[0] for each in sees])
        client.force_login(user)
        return client

    return enter


def test_the_sums_of_all_are_those_of_the_totals(usage: None) -> None:
    for granularity in ("hour", "day"):
        totals = UsageTotal.objects.filter(granularity=granularity).values_list("start", "kind", "transfers", "bytes")
        expected: dict[Any, tuple[int, int]] = {}
        for start, kind, transfers, size in totals:
            count, total = expected.get((start, kind), (0, 0))
            expected[start, kind] = (count + transfers, total + size)
        sums = UsageSum.objects.filter(granularity=granularity)
        assert {(each.start, each.kind): (each.transfers, each.bytes) for each in sums} == expected


def test_sums_that_an_older_release_did_not_keep_are_made_up_for(usage: None) -> None:
    before = list(UsageSum.objects.order_by("granularity", "start", "kind").values_list("start", "kind", "bytes"))
    UsageSum.objects.filter(start__gte=timezone.now() - timedelta(days=1)).delete()
    sums_of_all.catch_up()
    after = list(UsageSum.objects.order_by("granularity", "start", "kind").values_list("start", "kind", "bytes"))
    assert after == before
    UsageSum.objects.all().delete()
    sums_of_all.catch_up(datetime(1970, 1, 1, tzinfo=UTC))
    assert UsageSum.objects.count() == len(before)


@pytest.mark.parametrize(("age", "is_made"), [(timedelta(hours=1), True), (timedelta(days=3), False)])
def test_sums_are_made_up_for_while_an_older_release_may_run(usage: None, age: timedelta, is_made: bool) -> None:
    upgrade = MigrationRecorder(connection).migration_qs.filter(app="audit", name="0008_sums_of_all")
    assert upgrade.update(applied=timezone.now() - age) == 1
    UsageSum.objects.all().delete()
    sums_of_all.catch_up_after_upgrade()
    assert UsageSum.objects.exists() is is_made


def test_sizes_that_nobody_can_have_moved_stay_sums() -> None:
    for _ in range(3):
        event(1, size_bytes=2**62)
    sealing.seal()
    sums_of_all.catch_up()
    assert set(UsageSum.objects.values_list("bytes", flat=True)) == {2**62 - 1}


def test_a_period_is_added_up_for_who_sees_all_and_who_sees_some(usage: None) -> None:
    day = periods.preset("24h")
    everything = overview.total(day, None)
    assert (everything.uploaded_bytes, everything.saved_bytes, everything.downloaded_bytes) == (7 * MB, 2 * MB, 3 * MB)
    assert overview.total(day, frozenset({OTHER})).uploaded_bytes == MB
    assert overview.total(day, frozenset()).transfers == 0
    assert sum(each.uploads for each in overview.over_time(day, None)) == 2
    assert overview.total(periods.preset("30d"), None).uploaded_bytes == 11 * MB
    assert overview.total(overview.before(periods.preset("7d")), None).uploaded_bytes == 4 * MB


def test_the_first_organizations_are_those_that_moved_most(usage: None) -> None:
    top, _ = overview.top_organizations(periods.preset("24h"), None)
    assert [each.org_id for each in top] == [ORGANIZATION, OTHER]
    assert top[0].usage.moved_bytes == 9 * MB
    top, _ = overview.top_organizations(periods.preset("24h"), frozenset({OTHER}))
    assert [each.org_id for each in top] == [OTHER]


def test_the_page_shows_figures_that_lead_to_their_events(usage: None, log_in: Callable[..., Client]) -> None:
    client = log_in("view_usagetotal", "view_auditevent", "view_organization")
    page = client.get("/admin/", {"period": "24h"}).content.decode()
    for text in ("7.0 MiB", "3.0 MiB", "2.0 MiB", "22.2 %", ">4</a>", "Top organizations", "last 24 hours"):
        assert text in page, text
    links = re.findall(r'<dd><strong><a href="([^"]+)"', page.split("cas-health")[0])
    counts = [len(client.get(link.replace("&amp;", "&")).context["cl"].result_list) for link in links]
    assert counts == [2, 1, 1, 4]


def test_a_ratio_of_nothing_before_is_none(usage: None, log_in: Callable[..., Client]) -> None:
    page = log_in("view_usagetotal").get("/admin/", {"period": "24h"}).content.decode()
    assert "<span>none in the period before</span>" in page


def test_who_is_limited_sees_their_figures(usage: None, log_in: Callable[..., Client]) -> None:
    client = log_in("view_usagetotal", "view_auditevent", sees=[OTHER])
    page = client.get("/admin/", {"period": "24h"}).content.decode()
    assert "1.0 MiB" in page
    assert "7.0 MiB" not in page
    assert str(ORGANIZATION) not in page


def test_the_page_says_how_many_events_are_not_counted(
    log_in: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = log_in("view_usagetotal")
    monkeypatch.setattr(usage_charts, "MANY", 3)
    event()
    event()
    page = client.get("/admin/").content.decode()
    assert "What happened in the last seconds is not counted yet." in page
    assert "events are not counted yet" not in page
    event()
    page = client.get("/admin/").content.decode()
    assert "3 events are not counted yet." in page
    assert "What happened in the last seconds" not in page
    sealing.seal()
    assert "events are not counted yet" not in client.get("/admin/").content.decode()


def test_who_is_limited_learns_no_number_of_what_is_not_counted(
    log_in: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_charts, "MANY", 1)
    event()
    page = log_in("view_usagetotal", sees=[OTHER]).get("/admin/").content.decode()
    assert "Many events are not counted yet." in page


def test_who_is_limited_learns_nothing_of_how_much_waits(log_in: Callable[..., Client], settings: Settings) -> None:
    settings.NATS_URL = "nats://127.0.0.1:1"
    page = log_in("view_auditevent", sees=[OTHER]).get("/admin/").content.decode()
    assert "<dt>Stream</dt>" in page
    for label in ("Pending", "Failed", "Last published"):
        assert f"<dt>{label}</dt>" not in page


def test_who_may_not_see_usage_or_events_sees_the_list_of_pages(usage: None, log_in: Callable[..., Client]) -> None:
    page = log_in("view_location").get("/admin/").content.decode()
    assert "Usage, " not in page
    assert "Delivery to the stream" not in page
    assert "Locations" in page


def test_a_period_that_is_none_is_told(usage: None, log_in: Callable[..., Client]) -> None:
    page = log_in("view_usagetotal").get("/admin/", {"first": "2026-02-30"}).content.decode()
    assert "There is no such day." in page


def test_the_page_takes_few_queries_however_much_there_is(usage: None, log_in: Callable[..., Client]) -> None:
    client = log_in("view_usagetotal", "view_auditevent", "view_organization")
    with CaptureQueriesContext(connection) as queries:
        client.get("/admin/")
    assert len(queries) <= 25
    assert not [each for each in queries if 'FROM "audit_auditevent"' in each["sql"] and "LIMIT" not in each["sql"]]


@pytest.mark.parametrize(
    ("now", "before", "words"),
    [
        (150, 100, "50% more than in the period before"),
        (50, 100, "50% less than in the period before"),
        (100, 100, "as in the period before"),
        (0, 0, "as in the period before"),
        (5, 0, "nothing in the period before"),
        (5000, 100, "50 times more than in the period before"),
    ],
)
def test_change_is_told_in_words(now: int, before: int, words: str) -> None:
    assert _change(now, before) == words


# Delivery


def lines() -> dict[str, delivery_health.Line]:
    return {line.label: line for line in delivery_health.health(lambda **filters: f"?{filters}", sees_all=True)}


@pytest.fixture
def with_nats(settings: Settings) -> None:
    settings.NATS_URL = "nats://127.0.0.1:4222"


STATE = StreamState("chainloop-audit", ["audit.>"], 1234, 5 * MB, 1, 1234, -1, 10 * MB, 0.0, 1, "n1")


def report(**values: Any) -> None:
    now = timezone.now()
    defaults = {"reported_at": now, "reported_by": "w", "described_at": now, "description": STATE.plain()}
    StreamReport.objects.update_or_create(pk=1, defaults={**defaults, **values})


def test_all_is_well(with_nats: None) -> None:
    LastPublished.objects.create(pk=1, sequence=1234, published_at=timezone.now())
    WorkerBeat.objects.create(name="celery@a", seen_at=timezone.now(), waiting_files=0)
    report()
    found = lines()
    assert {line.level for line in found.values()} == {"good"}
    assert found["Last published"].value == "sequence 1,234"
    assert found["Stream"].value == "1,234 messages"
    assert "5.0 MiB of 10.0 MiB" in found["Stream"].detail


@pytest.mark.parametrize(
    ("leader", "words"), [("n1", "led by n1, asked"), ("N" + "A" * 55, "last sequence 1,234, asked")]
)
def test_the_leader_is_told_by_its_name_alone(with_nats: None, leader: str, words: str) -> None:
    report(description={**STATE.plain(), "leader": leader})
    assert words in lines()["Stream"].detail


def test_what_waits_and_what_failed_is_told(with_nats: None) -> None:
    make_row(State.PENDING)
    AuditEvent.objects.update(due_at=timezone.now() - timedelta(hours=3))
    make_row(State.FAILED)
    found = lines()
    assert (found["Pending"].value, found["Pending"].level) == ("1", "doubtful")
    assert found["Pending"].detail == "the oldest for 3 h"
    assert (found["Failed"].value, found["Failed"].level) == ("1", "bad")


@pytest.mark.parametrize(
    ("values", "word", "level"),
    [
        ({"problem": "unreachable", "detail": "nats: no servers"}, "NATS is not reachable", "bad"),
        ({"problem": "missing"}, "there is no such stream", "bad"),
        ({"reported_at": datetime(2026, 1, 1, tzinfo=UTC)}, "1,234 messages", "doubtful"),
        ({"description": {**STATE.plain(), "bytes": 9 * MB}}, "1,234 messages (nearly full)", "doubtful"),
    ],
)
def test_the_stream_is_told_of(with_nats: None, values: dict[str, Any], word: str, level: str) -> None:
    report(**values)
    line = lines()["Stream"]
    assert (line.value, line.level) == (word, level)


def test_workers_are_told_of(with_nats: None) -> None:
    assert lines()["Workers"].level == "bad"
    now = timezone.now()
    WorkerBeat.objects.create(name="celery@a", seen_at=now - timedelta(minutes=5), waiting_files=3)
    WorkerBeat.objects.create(name="celery@b", seen_at=now, waiting_files=0)
    found = lines()
    assert found["Worker celery@a"][1:4] == ("silent", "seen 5 min ago, 3 files of events wait on its host", "bad")
    assert found["Worker celery@b"].level == "good"


def test_without_nats_there_is_nothing_to_deliver() -> None:
    WorkerBeat.objects.create(name="celery@a", seen_at=timezone.now(), waiting_files=0)
    assert list(lines()) == ["Worker celery@a"]
