"""Periods as query strings ask for them, and as hours or days that totals are kept by."""

from datetime import UTC, date, datetime, timedelta

import pytest

from audit import event_filters, overview, periods
from audit.models import Granularity
from audit.periods import PeriodError

NOW = datetime(2026, 11, 28, 14, 35, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("key", "start", "end", "granularity", "points"),
    [
        ("24h", "2026-11-27T15:00", "2026-11-28T15:00", Granularity.HOUR, 24),
        ("7d", "2026-11-22T00:00", "2026-11-29T00:00", Granularity.DAY, 7),
        ("30d", "2026-10-30T00:00", "2026-11-29T00:00", Granularity.DAY, 30),
        ("90d", "2026-08-31T00:00", "2026-11-29T00:00", Granularity.DAY, 90),
    ],
)
def test_preset_ends_with_the_current_hour_or_day(
    key: str, start: str, end: str, granularity: Granularity, points: int
) -> None:
    period = periods.parse({"period": key}, NOW)
    assert (f"{period.start:%Y-%m-%dT%H:%M}", f"{period.end:%Y-%m-%dT%H:%M}") == (start, end)
    assert period.granularity == granularity
    assert len(period.starts) == points
    assert period.starts[-1] <= NOW < period.end
    assert period.parameters == {"period": key}


def test_default_is_thirty_days_of_now() -> None:
    period = periods.parse({})
    assert period.key == "30d"
    assert period.starts[-1].date() in {datetime.now(UTC).date(), (datetime.now(UTC) - timedelta(days=1)).date()}


def test_time_zones_of_now_do_not_move_utc_days() -> None:
    period = periods.preset("7d", datetime.fromisoformat("2026-11-29T01:00:00+05:00"))
    assert period.last == date(2026, 11, 28)


def test_days_are_both_included() -> None:
    period = periods.parse({"first": "2026-11-01", "last": "2026-11-07", "period": "24h"})
    assert len(period.starts) == 7
    assert (period.first, period.last) == (date(2026, 11, 1), date(2026, 11, 7))
    assert period.parameters == {"first": "2026-11-01", "last": "2026-11-07"}
    assert periods.parse(period.parameters) == period
    assert period.bounds == {"from": "2026-11-01T00:00Z", "to": "2026-11-08T00:00Z"}
    assert period.label == "1 Nov 2026 to 7 Nov 2026"


@pytest.mark.parametrize("name", ["first", "last"])
def test_one_day_alone_is_shown_by_the_hour(name: str) -> None:
    period = periods.parse({name: "2026-11-24", "period": "7d"})
    assert len(period.starts) == 24
    assert period.step == timedelta(hours=1)
    assert period.label == "24 Nov 2026"


def test_three_days_are_shown_by_the_day() -> None:
    assert len(periods.parse({"first": "2026-11-22", "last": "2026-11-23"}).starts) == 48
    assert len(periods.parse({"first": "2026-11-22", "last": "2026-11-24"}).starts) == 3


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"period": "1y"}, "no such period"),
        ({"first": "2026-11-08", "last": "2026-11-07"}, "must not be after"),
        ({"first": "2024-01-01", "last": "2026-12-31"}, "at most"),
        ({"first": "2026-02-30"}, "no such day"),
        ({"first": "yesterday"}, "written as"),
        ({"first": "2026-W01-1"}, "written as"),
        ({"first": "2026-11-0\u0661"}, "written as"),
        ({"first": "9999-12-31"}, "no such days"),
        ({"first": "0001-01-01"}, "no days before"),
        ({"first": "0001-01-05", "last": "0001-02-01"}, "no days before"),
    ],
)
def test_what_is_no_period_is_refused_in_words(query: dict[str, str], problem: str) -> None:
    with pytest.raises(PeriodError, match=problem):
        periods.parse(query, NOW)
    shown, said = periods.read(query, NOW)
    assert shown == periods.preset("30d", NOW)
    assert problem in said


@pytest.mark.parametrize(("first", "last"), [("0001-01-02", "0001-01-02"), ("9999-12-01", "9999-12-30")])
def test_first_and_last_days_that_have_a_period_before_them(first: str, last: str) -> None:
    period = periods.parse({"first": first, "last": last})
    assert overview.before(period).end == period.start
    assert periods.parse(period.parameters) == period


def test_bounds_of_an_early_year_are_times_too() -> None:
    bounds = periods.parse({"first": "0987-06-05"}).bounds
    assert bounds == {"from": "0987-06-05T00:00Z", "to": "0987-06-06T00:00Z"}
    assert all(event_filters.parse_time(text) for text in bounds.values())


def test_longest_period_is_two_years() -> None:
    assert len(periods.parse({"first": "2024-01-01", "last": "2025-12-31"}).starts) == periods.LONGEST_DAYS


def test_links_keep_the_rest_of_the_query_and_tell_the_current_one() -> None:
    query = {"q": "a&b", "period": "7d", "first": "", "last": ""}
    found = periods.links(periods.parse(query, NOW), query)
    assert [link.url for link in found] == [f"?q=a%26b&period={key}" for key in ("24h", "7d", "30d", "90d")]
    assert [link.label for link in found if link.is_current] == ["7 days"]
    days = {"first": "2026-11-01", "last": "2026-11-02"}
    assert not [link for link in periods.links(periods.parse(days), days) if link.is_current]
