"""The period that a page shows: `?period=7d`, or whole days as `?first=2026-11-01&last=2026-11-07`.

Usage is kept by the hour and the day (UTC), so a period is made of either, the current one included.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlencode

from django.utils import timezone

from audit.models import Granularity

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
DEFAULT = "30d"
CUSTOM = "custom"
HOURLY_DAYS = 2  # up to so many days are shown by the hour
LONGEST_DAYS = 731  # points that a chart can still show
PARAMETERS = ("period", "first", "last")

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class Preset(NamedTuple):
    key: str
    label: str
    length: timedelta


PRESETS = (
    Preset("24h", "24 hours", timedelta(hours=24)),
    Preset("7d", "7 days", timedelta(days=7)),
    Preset("30d", "30 days", timedelta(days=30)),
    Preset("90d", "90 days", timedelta(days=90)),
)
_BY_KEY = {preset.key: preset for preset in PRESETS}


class PeriodError(ValueError):
    """What was asked for is no period; the message is for whoever asked."""


@dataclass(frozen=True, slots=True)
class Period:
    """Hours or days from `start` up to, and without, `end`."""

    key: str
    start: datetime
    end: datetime
    granularity: Granularity

    @property
    def step(self) -> timedelta:
        """How long each point of a chart is."""
        return HOUR if self.granularity == Granularity.HOUR else DAY

    @property
    def starts(self) -> list[datetime]:
        """Where each hour or day begins, in order."""
        return [self.start + self.step * number for number in range((self.end - self.start) // self.step)]

    @property
    def first(self) -> date:
        return self.start.date()

    @property
    def last(self) -> date:
        """The last day that is part of it."""
        return (self.end - timedelta(microseconds=1)).date()

    @property
    def label(self) -> str:
        """Such as `last 30 days`, `1 Nov 2026` or `1 Nov 2026 to 7 Nov 2026`."""
        if self.key in _BY_KEY:
            return f"last {_BY_KEY[self.key].label}"
        return _day(self.first) if self.first == self.last else f"{_day(self.first)} to {_day(self.last)}"

    @property
    def parameters(self) -> dict[str, str]:
        """What asks for it in a query string. A preset moves on with the time, days stay."""
        if self.key in _BY_KEY:
            return {"period": self.key}
        return {"first": self.first.isoformat(), "last": self.last.isoformat()}

    @property
    def bounds(self) -> dict[str, str]:
        """The same as the filters of events spell it: `from`, and the `to` that is not part of it, RFC 3339."""
        return bounds(self.start, self.end)


def bounds(start: datetime, end: datetime) -> dict[str, str]:
    return {"from": _to_the_minute(start), "to": _to_the_minute(end)}


def preset(key: str, now: datetime | None = None) -> Period:
    """The hours or days up to now; raises PeriodError when there is no such preset."""
    if key not in _BY_KEY:
        raise PeriodError(f"There is no such period; there are {', '.join(_BY_KEY)}.")
    length = _BY_KEY[key].length
    hour = (now or timezone.now()).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if length <= DAY:
        return Period(key, hour + HOUR - length, hour + HOUR, Granularity.HOUR)
    end = hour.replace(hour=0) + DAY
    return Period(key, end - length, end, Granularity.DAY)


def custom(first: date, last: date) -> Period:
    """Whole days (UTC), both included.

    Raises PeriodError when they are too many, in the wrong order, or as many do not come before them.
    """
    if first > last:
        raise PeriodError("The first day must not be after the last.")
    days = (last - first).days + 1
    if days > LONGEST_DAYS:
        raise PeriodError(f"A period has at most {LONGEST_DAYS} days.")
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    length = timedelta(days=days)
    try:
        end = start + length
    except OverflowError as error:
        raise PeriodError("There are no such days.") from error
    try:
        start - length
    except OverflowError as error:
        raise PeriodError("There are no days before these to compare them with.") from error
    return Period(CUSTOM, start, end, Granularity.HOUR if days <= HOURLY_DAYS else Granularity.DAY)


def parse(query: Mapping[str, str], now: datetime | None = None) -> Period:
    """What a query string asks for, by default the preset DEFAULT; raises PeriodError.

    One day alone, `first` or `last`, is a period of that day.
    """
    days = [query[name] for name in ("first", "last") if query.get(name)]
    if days:
        dates = [_date(text) for text in days]
        return custom(dates[0], dates[-1])
    return preset(query.get("period") or DEFAULT, now)


def read(query: Mapping[str, str], now: datetime | None = None) -> tuple[Period, str]:
    """The same for a page: what cannot be read is the default, and the problem in words ("" when there is none)."""
    try:
        return parse(query, now), ""
    except PeriodError as error:
        return preset(DEFAULT, now), str(error)


class Link(NamedTuple):
    label: str
    url: str
    is_current: bool


def links(current: Period, query: Mapping[str, str]) -> list[Link]:
    """To this page with each preset, whatever else its query string holds left as it is."""
    rest = {name: value for name, value in query.items() if name not in PARAMETERS}
    return [
        Link(each.label, f"?{urlencode({**rest, 'period': each.key})}", each.key == current.key) for each in PRESETS
    ]


def context(current: Period, query: Mapping[str, str], problem: str = "") -> dict[str, object]:
    """What templates/admin/periods.html wants."""
    return {
        "period": current,
        "period_links": links(current, query),
        "period_rest": [(name, value) for name, value in query.items() if name not in PARAMETERS],
        "period_problem": problem,
        "longest_days": LONGEST_DAYS,
    }


def _date(text: str) -> date:
    if _DATE.fullmatch(text) is None:
        raise PeriodError("A day is written as 2026-11-24.")
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise PeriodError("There is no such day.") from error


def _to_the_minute(time: datetime) -> str:
    """RFC 3339, whose years have four digits; those of strftime have as many as they need."""
    return f"{time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='minutes')}Z"


def _day(day: date) -> str:
    return f"{day.day} {day:%b %Y}"
