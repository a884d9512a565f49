"""Charts as SVG and HTML: drawn by the server, coloured by classes, and beside each a table of what it shows.

Horizontal places are percentages and texts stand beside what is stretched, so a chart fits whatever width it gets.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from audit.admin import chart_axes
from common.sizes import format_size

HEIGHT = 220  # pixels of the plot
_DOTTED = 48  # points or fewer have dots, else they would hide the line
_WIDTH = 1000  # of the coordinates that are stretched over the plot


class Line(NamedTuple):
    """Values over time. `kind` is its CSS class: uploaded, downloaded, saved, or plain."""

    label: str
    kind: str
    values: Sequence[int]


class Part(NamedTuple):
    """One of the stretches that a bar is made of; `kind` as a line's."""

    label: str
    kind: str
    value: int


class Bar(NamedTuple):
    """A row of a bar chart: `label` links to `url`, if there is one."""

    label: str
    parts: Sequence[Part]
    url: str = ""
    title: str = ""


def time_chart(
    title: str,
    starts: Sequence[datetime],
    lines: Sequence[Line],
    *,
    step: timedelta,
    urls: Sequence[str] = (),
) -> SafeString:
    """Lines over the hours or days that begin at `starts`, of which each has a value in each line.

    `urls`, one for each start, lead to what is behind its values. Values are 0 or more.
    """
    top, marks = chart_axes.value_marks(max((value for line in lines for value in line.values), default=0))
    count = len(starts)
    places = [chart_axes.place_of(number, count) for number in range(count)]
    context = {
        "title": title,
        "description": _description(starts, lines, step),
        "height": HEIGHT,
        "width": _WIDTH,
        "value_marks": [(_y(mark.at), mark.label) for mark in marks],
        "time_marks": [(_percent(mark.at), mark.label, mark.is_minor) for mark in chart_axes.time_marks(starts, step)],
        "lines": [_drawn(line, places, top) for line in lines],
        "columns": _columns(starts, lines, places, step, urls),
        "is_hourly": step < chart_axes.DAY,
    }
    return render_to_string("admin/charts/time.html", context)


def bar_chart(title: str, bars: Sequence[Bar], *, heading: str) -> SafeString:
    """A table of bars, longest first as they are given; `heading` says what a row is. Values are 0 or more."""
    longest = max((sum(part.value for part in bar.parts) for bar in bars), default=0) or 1
    return render_to_string(
        "admin/charts/bars.html",
        {
            "title": title,
            "heading": heading,
            "legend": list(dict.fromkeys((part.label, part.kind) for bar in bars for part in bar.parts)),
            "rows": [_row(bar, longest) for bar in bars],
        },
    )


def _y(share: float) -> float:
    return round(HEIGHT * (1 - share), 1)


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"


def _drawn(line: Line, places: Sequence[float], top: int) -> dict[str, object]:
    points = [(place, _y(value / top)) for place, value in zip(places, line.values, strict=True)]
    return {
        "label": line.label,
        "kind": line.kind,
        "points": " ".join(f"{_WIDTH * x:.1f},{y}" for x, y in points),
        "ends": (round(_WIDTH * places[0], 1), round(_WIDTH * places[-1], 1)) if places else (0, 0),
        "dots": [(_percent(x), y) for x, y in points] if len(points) <= _DOTTED else [],
    }


def _columns(
    starts: Sequence[datetime],
    lines: Sequence[Line],
    places: Sequence[float],
    step: timedelta,
    urls: Sequence[str],
) -> list[dict[str, object]]:
    """What is under the pointer, and a row of the table, for each start."""
    half = 0.5 / (len(starts) - 1) if len(starts) > 1 else 0.5
    columns: list[dict[str, object]] = []
    for number, start in enumerate(starts):
        left, right = max(0.0, places[number] - half), min(1.0, places[number] + half)
        columns.append(
            {
                "name": chart_axes.time_name(start, step),
                "left": _percent(left),
                "width": _percent(right - left),
                "place": _percent(places[number]),
                "url": urls[number] if urls else "",
                "values": [(line.label, format_size(line.values[number]), line.values[number]) for line in lines],
            }
        )
    return columns


def _description(starts: Sequence[datetime], lines: Sequence[Line], step: timedelta) -> str:
    """Each line in words: its sum, and when it was highest."""
    sentences = []
    for line in lines:
        greatest = max(line.values, default=0)
        if not greatest:
            sentences.append(f"{line.label}: nothing.")
            continue
        when = chart_axes.time_name(starts[list(line.values).index(greatest)], step)
        total = format_size(sum(line.values))
        sentences.append(f"{line.label}: {total} in all, most at {when} with {format_size(greatest)}.")
    return " ".join(sentences)


def _row(bar: Bar, longest: int) -> dict[str, object]:
    left, stretches = 0.0, []
    for part in bar.parts:
        share = part.value / longest
        if part.value:
            stretches.append({"left": _percent(left), "width": _percent(share), "kind": part.kind})
        left += share
    return {
        "label": bar.label,
        "title": bar.title,
        "url": bar.url,
        "stretches": stretches,
        "total": format_size(sum(part.value for part in bar.parts)),
        "parts": [(part.label, format_size(part.value)) for part in bar.parts],
    }
