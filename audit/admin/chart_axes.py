"""Where the marks of a chart's axes stand, and what they say."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from common.sizes import format_size

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

_MARKS = 5  # at most, above zero
_ROUND = (1, 2, 5, 10, 20, 50, 100, 200, 512)
_DATES = 8  # labels that a laptop has room for; a phone shows every second one
_HOURS = (1, 2, 3, 4, 6, 12, 24, 48, 96, 168)
_DAYS = (1, 2, 3, 7, 14, 28, 56, 91, 182, 364, 728)


class Mark(NamedTuple):
    """`at` is a share of the axis, 0 to 1."""

    at: float
    label: str
    is_minor: bool = False


def value_marks(greatest: int) -> tuple[int, list[Mark]]:
    """The value at the top of the axis, and its marks from zero on: round numbers of bytes in binary units."""
    if greatest <= 0:
        return 1, [Mark(0.0, format_size(0))]
    unit = 1
    while True:
        for step in (number * unit for number in _ROUND):
            count = -(-greatest // step)
            if count <= _MARKS:
                top = step * count
                return top, [Mark(number / count, _short(format_size(step * number))) for number in range(count + 1)]
        unit *= 1024


def _short(text: str) -> str:
    return text.replace(".0 ", " ")


def time_marks(starts: Sequence[datetime], step: timedelta) -> list[Mark]:
    """Marks at the starts that a calendar would choose, each new year with its number; every second one is minor."""
    marks, year = [], starts[0].year if starts else 0
    for turn, number in enumerate(_chosen(starts, step)):
        start = starts[number]
        label = _label(start, step) if start.year == year else f"{_label(start, step)} {start:%Y}"
        marks.append(Mark(place_of(number, len(starts)), label, bool(turn % 2)))
        year = start.year
    return marks


def place_of(number: int, count: int) -> float:
    """Where along the axis the point of this number stands: the first and the last at its ends, one alone half-way."""
    return number / (count - 1) if count > 1 else 0.5


def _chosen(starts: Sequence[datetime], step: timedelta) -> list[int]:
    every = next((n for n in (_HOURS if step < DAY else _DAYS) if len(starts) / n <= _DATES), None)
    if every is None:
        every = -(-len(starts) // _DATES)
    return [number for number, start in enumerate(starts) if _ordinal(start, step) % every == 0]


def _ordinal(start: datetime, step: timedelta) -> int:
    """Hours or days since a Monday at midnight, so that multiples fall on midnights and on Mondays."""
    return int((start.astimezone(UTC) - datetime(1970, 1, 5, tzinfo=UTC)) / step)


def _label(start: datetime, step: timedelta) -> str:
    """Of an hour its time, or its day when it begins one; of a day its day."""
    start = start.astimezone(UTC)
    return f"{start:%H:%M}" if step < DAY and start.hour else f"{start:%d} {start:%b}".lstrip("0")


def time_name(start: datetime, step: timedelta) -> str:
    """In full: `2026-11-24 14:00` or `2026-11-24`."""
    start = start.astimezone(UTC)
    return f"{start:%Y-%m-%d %H:%M}" if step < DAY else f"{start:%Y-%m-%d}"
