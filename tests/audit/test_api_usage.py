"""GET /api/usage/: sums of the totals, grouped, bounded, in pages."""

import csv
import io
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from audit import api_usage, totals
from audit.api_usage import UsageSerializer
from audit.events import Kind
from audit.models import Granularity
from tests.audit.test_api_events import assert_problem, make_user

pytestmark = pytest.mark.django_db

URL = "/api/usage/"
ONE, TWO = uuid.UUID(int=1), uuid.UUID(int=2)
DAY = datetime(2026, 11, 24, tzinfo=UTC)
WINDOW = {"from": "2026-11-01", "to": "2026-12-01"}


def add(kind: Kind, count: int, transfers: int = 1, **values: Any) -> None:
    """As sealing adds it."""
    key = totals.Key(
        **{
            "granularity": Granularity.DAY,
            "start": DAY,
            "org_id": ONE,
            "backend": "FILESYSTEM",
            "location": "default",
            "kind": kind,
            **values,
        }
    )
    totals.add({key: totals.Added(transfers, count)})


@pytest.fixture
def reader(client: Client) -> Client:
    client.force_login(make_user("view_usagetotal"))
    return client


def rows(client: Client, *columns: str, **query: Any) -> list[tuple[Any, ...]]:
    """These columns of all pages."""
    found: list[tuple[Any, ...]] = []
    answer = client.get(URL, {**WINDOW, **query}).json()
    while True:
        found += [tuple(row[column] for column in columns) for row in answer["results"]]
        if not answer["next"]:
            return found
        answer = client.get(answer["next"]).json()


def test_usage_is_shown_in_full(reader: Client) -> None:
    add(Kind.UPLOADED, 300, 3)
    add(Kind.DEDUPLICATED, 100, 2)
    add(Kind.DOWNLOADED, 50, 5)
    counts = {
        "uploaded_bytes": 300,
        "downloaded_bytes": 50,
        "saved_bytes": 100,
        "uploads": 3,
        "downloads": 5,
        "skipped_uploads": 2,
        "dedup_ratio": 0.25,
    }
    assert reader.get(URL, WINDOW).json() == {
        "next": None,
        "totals": counts,
        "results": [{"start": "2026-11-24T00:00:00.000000Z", "org_id": str(ONE), **counts}],
    }


def test_nothing_was_transferred(reader: Client) -> None:
    answer = reader.get(URL, WINDOW).json()
    assert answer["results"] == []
    assert set(answer["totals"].values()) == {0, None}


def test_described_fields_are_those_shown(reader: Client) -> None:
    add(Kind.DOWNLOADED, 1)
    row = reader.get(URL, {**WINDOW, "group_by": "location,backend,org,start"}).json()["results"][0]
    assert list(row) == list(UsageSerializer().fields)
    assert row["dedup_ratio"] is None


@pytest.mark.parametrize(
    ("group_by", "columns", "expected"),
    [
        ("start", ["start"], [("2026-11-23", 4), ("2026-11-24", 3)]),
        ("org", ["org_id"], [(str(ONE), 5), (str(TWO), 2)]),
        (
            "org,location",
            ["org_id", "location"],
            [(str(ONE), "archive", 1), (str(ONE), "default", 4), (str(TWO), "default", 2)],
        ),
        ("location", ["location"], [("archive", 1), ("default", 6)]),
        ("backend,location", ["backend", "location"], [("AWS-S3", "archive", 1), ("FILESYSTEM", "default", 6)]),
        (
            "org,start",
            ["start", "org_id"],
            [("2026-11-23", str(ONE), 4), ("2026-11-24", str(ONE), 1), ("2026-11-24", str(TWO), 2)],
        ),
    ],
)
@pytest.mark.parametrize("page_size", [1, 2, 100])
def test_groups(reader: Client, group_by: str, columns: list[str], expected: Any, page_size: int) -> None:
    add(Kind.UPLOADED, 4, start=DAY - timedelta(days=1))
    add(Kind.UPLOADED, 1, backend="AWS-S3", location="archive")
    add(Kind.UPLOADED, 2, org_id=TWO)
    add(Kind.UPLOADED, 9, granularity=Granularity.HOUR)
    found = rows(reader, *columns, "uploaded_bytes", group_by=group_by, page_size=page_size)
    assert [tuple(str(value)[:10] if "T00:00" in str(value) else value for value in row) for row in found] == expected


@pytest.mark.parametrize(
    ("query", "total"),
    [
        ({}, 3),
        ({"org": [str(ONE)]}, 1),
        ({"org": [str(ONE), str(TWO)]}, 3),
        ({"org": [str(uuid.UUID(int=3))]}, 0),
        ({"location": "archive"}, 2),
        ({"backend": "FILESYSTEM"}, 1),
        ({"from": "2026-11-24"}, 2),
        ({"to": "2026-11-24"}, 1),
        ({"granularity": "hour"}, 8),
        ({"granularity": "hour", "from": "2026-11-24T09:00:00Z", "to": "2026-11-24T10:00:00Z"}, 8),
        ({"granularity": "hour", "to": "2026-11-24T09:00:00Z"}, 0),
    ],
)
def test_filters(reader: Client, query: dict[str, Any], total: int) -> None:
    add(Kind.UPLOADED, 1, start=DAY - timedelta(days=1))
    add(Kind.UPLOADED, 2, org_id=TWO, backend="AWS-S3", location="archive")
    add(Kind.UPLOADED, 8, granularity=Granularity.HOUR, start=DAY + timedelta(hours=9))
    assert reader.get(URL, {**WINDOW, **query}).json()["totals"]["uploaded_bytes"] == total


@pytest.mark.parametrize("page_size", [1, 2, 100])
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"group_by": "start"}, [8, 1]),
        ({"group_by": "org"}, [1, 8]),
        ({"group_by": "org", "location": "default"}, [1, 8]),
        ({"group_by": "org", "location": "archive"}, [4]),
        ({"group_by": "org", "org": [str(TWO)]}, [8]),
        ({"group_by": "org", "from": "2026-11-24"}, [1]),
    ],
)
def test_what_is_filtered_is_in_no_group(
    reader: Client, query: dict[str, Any], found: list[int], page_size: int
) -> None:
    add(Kind.UPLOADED, 1)
    add(Kind.UPLOADED, 8, org_id=TWO, start=DAY - timedelta(days=1))
    add(Kind.UPLOADED, 4, org_id=uuid.UUID(int=3), start=DAY - timedelta(days=60))
    if query.get("location") == "archive":
        add(Kind.UPLOADED, 4, org_id=TWO, location="archive")
    assert [row[0] for row in rows(reader, "uploaded_bytes", **query, page_size=page_size)] == found


class TestMany:
    """More totals than one answer adds up."""

    @pytest.fixture(autouse=True)
    def _many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(api_usage, "MOST", 4)
        for number in range(1, 11):
            add(Kind.UPLOADED, number, org_id=uuid.UUID(int=number))

    @pytest.mark.parametrize("group_by", ["start", "start,org", "start,org,backend", "start,org,backend,location"])
    def test_sums_and_what_an_index_has_in_order_are_there(self, reader: Client, group_by: str) -> None:
        answer = reader.get(URL, {**WINDOW, "group_by": group_by}).json()
        assert answer["totals"]["uploaded_bytes"] == 55
        assert sum(row["uploaded_bytes"] for row in answer["results"]) == 55

    @pytest.mark.parametrize("group_by", ["org", "org,location"])
    def test_organizations_are_read_a_page_at_a_time(self, reader: Client, group_by: str) -> None:
        found = rows(reader, "uploaded_bytes", group_by=group_by, page_size="2")
        assert [row[0] for row in found] == list(range(1, 11))

    @pytest.mark.parametrize(
        "query",
        [
            {"group_by": "location"},
            {"group_by": "start,location"},
            {"group_by": "org"},  # in one page
            {"location": "default"},
            {"backend": "none"},
            {"org": [str(uuid.UUID(int=number)) for number in range(1, 11)]},
        ],
    )
    def test_what_would_add_up_more_is_refused(self, reader: Client, query: dict[str, Any]) -> None:
        detail = assert_problem(reader.get(URL, {**WINDOW, **query}), 400, "invalid_parameter")
        advice = "ask for less time, for some organizations, or for a smaller page"
        assert detail == f"from: More than 4 totals would be added up: {advice}."

    def test_some_organizations_may_be_asked_for(self, reader: Client) -> None:
        query = {"group_by": "location", "org": [str(ONE), str(TWO)]}
        assert rows(reader, "uploaded_bytes", **query) == [(3,)]


def test_totals_come_with_the_first_page(reader: Client) -> None:
    add(Kind.UPLOADED, 1)
    add(Kind.UPLOADED, 2, org_id=TWO)
    first = reader.get(URL, {**WINDOW, "page_size": "1"}).json()
    assert first["totals"]["uploaded_bytes"] == 3
    assert reader.get(first["next"]).json()["totals"] is None


@pytest.mark.parametrize("granularity", Granularity.values)
def test_the_last_days_unless_asked_otherwise(reader: Client, granularity: str) -> None:
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    start = now if granularity == Granularity.HOUR else now.replace(hour=0)
    add(Kind.UPLOADED, 1, start=start, granularity=granularity)
    add(Kind.UPLOADED, 2, start=start - timedelta(days=29), granularity=granularity)
    add(Kind.UPLOADED, 4, start=start - timedelta(days=31), granularity=granularity)
    assert reader.get(URL, {"granularity": granularity}).json()["totals"]["uploaded_bytes"] == 3


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("colour=red", "colour"),
        ("granularity=week", "granularity"),
        ("group_by=", "group_by"),
        ("group_by=kind", "group_by"),
        ("group_by=org,org", "group_by"),
        ("group_by=org&group_by=start", "group_by"),
        ("org=acme", "org"),
        ("org=", "org"),
        ("from=2026-11-24T09:00:00Z", "from"),
        ("from=2026-11-24&to=2026-11-24T09:00:00Z", "to"),
        ("granularity=hour&from=2026-11-24T09:30:00Z", "from"),
        ("granularity=hour&from=2026-01-01&to=2026-11-01", "from"),
        ("from=2001-01-01&to=2026-01-01", "from"),
        ("from=2026-11-24&to=2026-11-24", "to"),
        ("to=0001-01-02", "to"),
        ("action=uploaded", "action"),
        ("cursor=WyJhIiwxXQ", "cursor"),
        ("cursor=bnVsbA", "cursor"),
    ],
)
def test_nonsense_is_refused_by_name(reader: Client, query: str, name: str) -> None:
    detail = assert_problem(reader.get(f"{URL}?{query}"), 400, "invalid_parameter")
    assert detail.startswith(f"{name}: ")


def test_cursor_of_another_grouping_is_refused(reader: Client) -> None:
    add(Kind.UPLOADED, 1)
    add(Kind.UPLOADED, 2, org_id=TWO)
    following = reader.get(URL, {**WINDOW, "page_size": "1", "group_by": "org"}).json()["next"]
    assert_problem(reader.get(following.replace("group_by=org", "group_by=start")), 400, "invalid_parameter")


def test_csv_has_the_columns_that_were_asked_for(reader: Client) -> None:
    add(Kind.DOWNLOADED, 5, location="=cmd")
    answer = reader.get(URL, {**WINDOW, "group_by": "location", "format": "csv"})
    assert answer["Content-Disposition"] == 'attachment; filename="usage.csv"'
    found = list(csv.reader(io.StringIO(answer.content.decode(), newline="")))
    assert found[0] == [
        "location",
        "uploaded_bytes",
        "downloaded_bytes",
        "saved_bytes",
        "uploads",
        "downloads",
        "skipped_uploads",
        "dedup_ratio",
    ]
    assert found[1:] == [["'=cmd", "0", "5", "0", "0", "1", "0", ""]]


@pytest.mark.parametrize("count", [2**62 - 1, -(2**62) + 1, 2**32 - 1, -1])
def test_sums_are_exact_whatever_sizes_others_claim(reader: Client, count: int) -> None:
    for day in range(5):
        add(Kind.DOWNLOADED, count, start=DAY - timedelta(days=day))
    assert reader.get(URL, WINDOW).json()["totals"]["downloaded_bytes"] == 5 * count


@pytest.mark.parametrize("values", [{}, {"is_superuser": True, "is_staff": False}])
def test_user_who_may_not(client: Client, values: dict[str, bool]) -> None:
    client.force_login(make_user("view_auditevent", **values))
    assert_problem(client.get(URL), 403, "permission_denied")


def test_superuser(client: Client) -> None:
    client.force_login(User.objects.create_user("admin", is_staff=True, is_superuser=True))
    assert client.get(URL).status_code == 200


def test_nobody_without_a_user(client: Client) -> None:
    assert client.get(URL)["WWW-Authenticate"] == 'Basic realm="api"'
