"""Charts say what the values are: in the picture, in its description, and in the table beside."""

import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest

from audit.admin import chart_axes, charts
from audit.admin.chart_axes import DAY, HOUR
from audit.admin.charts import Bar, Line, Part

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)


def days(count: int) -> list[datetime]:
    return [MONDAY + DAY * number for number in range(count)]


def hours(count: int) -> list[datetime]:
    return [MONDAY + HOUR * number for number in range(count)]


def lines_of(page: str) -> list[list[tuple[float, float]]]:
    """The points of each line, over 1000 by HEIGHT."""
    return [
        [(float(x), float(y)) for x, y in (pair.split(",") for pair in points.split())]
        for points in re.findall(r'polyline class="cas-line" points="([^"]*)"', page)
    ]


def chart(values: list[int], *, step: timedelta = DAY, urls: list[str] | None = None) -> str:
    starts = days(len(values)) if step == DAY else hours(len(values))
    return charts.time_chart("Bytes", starts, [Line("uploaded", "uploaded", values)], step=step, urls=urls or [])


def test_line_goes_from_edge_to_edge_and_from_zero_to_the_top() -> None:
    (line,) = lines_of(chart([0, 5 * 1024, 10 * 1024]))
    assert line == [(0, charts.HEIGHT), (500, charts.HEIGHT / 2), (1000, 0)]


def test_one_point_is_a_dot_in_the_middle() -> None:
    page = chart([7])
    assert lines_of(page) == [[(500, 27.5)]]  # 7 of an axis up to 8
    assert '<circle class="cas-dot" cx="50.00%"' in page


def test_nothing_at_all_lies_on_the_ground() -> None:
    page = chart([0, 0, 0])
    assert {y for _, y in lines_of(page)[0]} == {charts.HEIGHT}
    assert "uploaded: nothing." in page


def test_without_any_point_there_still_is_a_chart() -> None:
    assert "uploaded: nothing." in chart([])


@pytest.mark.parametrize("greatest", [1, 999, 2**40, 2**62, 2**75])
def test_points_stay_inside_whatever_the_values(greatest: int) -> None:
    (line,) = lines_of(chart([0, greatest, greatest // 3]))
    assert all(0 <= y <= charts.HEIGHT for _, y in line)


def test_many_points_have_no_dots() -> None:
    assert "cas-dot" not in chart([1] * 168, step=HOUR)


@pytest.mark.parametrize("values", [[], [0], [5, 0, 2**70], list(range(168))])
def test_chart_is_well_formed_and_has_no_inline_style(values: list[int]) -> None:
    page = chart(values, step=HOUR)
    ElementTree.fromstring(page)  # noqa: S314  (our own)
    assert "style=" not in page


def test_description_says_how_much_and_when_it_was_most() -> None:
    page = chart([1024, 3072, 0])
    assert "uploaded: 4.0 KiB in all, most at 2026-11-24 with 3.0 KiB." in page


def test_each_day_is_a_row_of_the_table_and_leads_to_its_events() -> None:
    page = chart([1, 1536], urls=["/one/?a=1&b=2", "/two/"])
    assert '<a href="/one/?a=1&amp;b=2">2026-11-23</a>' in page
    assert '<a href="/two/">2026-11-24</a>' in page
    assert '<td title="1536">1.5 KiB</td>' in page


def test_links_of_the_picture_are_not_in_the_way_of_the_keyboard() -> None:
    svg = re.search(r'<svg class="cas-times".*?</figure>', chart([1, 2], urls=["/1/", "/2/"]), re.DOTALL)
    assert svg is not None
    picture = svg[0].partition("<details")[0]
    assert picture.count("<a ") == picture.count('tabindex="-1"') == 2


def test_labels_are_escaped() -> None:
    page = charts.time_chart("<b>", days(1), [Line("<i>", "plain", [1])], step=DAY)
    page += charts.bar_chart("<b>", [Bar("<i>\u202e", [Part("<u>", "plain", 1)])], heading="<s>")
    assert not re.search(r"<[bius]>|\u202e", page)


@pytest.mark.parametrize(
    ("greatest", "labels"),
    [
        (0, ["0 B"]),
        (4, ["0 B", "1 B", "2 B", "3 B", "4 B"]),
        (1000, ["0 B", "200 B", "400 B", "600 B", "800 B", "1000 B"]),
        (1500, ["0 B", "512 B", "1 KiB", "1.5 KiB"]),
        (10 * 1024**3, ["0 B", "2 GiB", "4 GiB", "6 GiB", "8 GiB", "10 GiB"]),
    ],
)
def test_marks_of_bytes_are_round_in_binary_units(greatest: int, labels: list[str]) -> None:
    assert [mark.label for mark in chart_axes.value_marks(greatest)[1]] == labels


@pytest.mark.parametrize("greatest", [3, 1023, 1024, 1025, 10**9, 7 * 2**60, 2**80])
def test_top_of_the_axis_is_no_less_than_the_greatest_value(greatest: int) -> None:
    top, marks = chart_axes.value_marks(greatest)
    assert greatest <= top < 3 * greatest
    assert len(marks) <= 6


def test_hours_are_marked_at_even_times_and_midnight_has_its_date() -> None:
    labels = [mark.label for mark in chart_axes.time_marks(hours(24), HOUR)]
    assert labels == ["23 Nov", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00"]


def test_hours_of_a_week_are_marked_by_day() -> None:
    labels = [mark.label for mark in chart_axes.time_marks(hours(168), HOUR)]
    assert labels == [f"{day} Nov" for day in range(23, 30)]


def test_days_of_a_month_are_marked_by_week() -> None:
    labels = [mark.label for mark in chart_axes.time_marks(days(30), DAY)]
    assert labels == ["23 Nov", "30 Nov", "7 Dec", "14 Dec", "21 Dec"]


def test_new_year_is_told() -> None:
    labels = [mark.label for mark in chart_axes.time_marks(days(90), DAY)]
    assert [label for label in labels if "2027" in label] == ["4 Jan 2027"]


@pytest.mark.parametrize("count", [1, 2, 7, 24, 25, 168, 744, 2208])
@pytest.mark.parametrize("step", [HOUR, DAY])
def test_no_axis_is_crowded(count: int, step: timedelta) -> None:
    starts = [MONDAY + step * number for number in range(count)]
    marks = chart_axes.time_marks(starts, step)
    assert 1 <= len(marks) <= 8
    assert not all(mark.is_minor for mark in marks)


def test_longest_bar_fills_its_row_and_parts_stand_side_by_side() -> None:
    page = charts.bar_chart(
        "Top",
        [
            Bar("acme", [Part("uploaded", "uploaded", 300), Part("saved", "saved", 100)], url="/acme/"),
            Bar("beta", [Part("uploaded", "uploaded", 0), Part("saved", "saved", 200)]),
        ],
        heading="Organization",
    )
    found = re.findall(r'<rect class="cas-stretch cas-(\w+)" x="([\d.]+)%" width="([\d.]+)%"', page)
    assert found == [("uploaded", "0.00", "75.00"), ("saved", "75.00", "25.00"), ("saved", "0.00", "50.00")]
    assert '<a href="/acme/"><bdi>acme</bdi></a>' in page
    assert "style=" not in page


def test_bars_of_nothing_have_no_length() -> None:
    page = charts.bar_chart("Top", [Bar("acme", [Part("uploaded", "uploaded", 0)])], heading="Organization")
    assert "cas-stretch cas-" not in page
    ElementTree.fromstring(page)  # noqa: S314  (our own)
