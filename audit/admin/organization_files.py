"""Usage as files: CSV that is streamed in pieces, each read by itself, so that no transaction stays open meanwhile."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC
from functools import partial
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBadRequest, HttpResponseBase

from audit import acts, api_usage, organization_usage, organizations, periods
from audit.acts import Act, Target
from audit.admin import files
from audit.api_formats import csv_lines
from audit.models import Organization
from audit.periods import Period, PeriodError
from audit.usage_sums import FIGURES, figures_of

BATCH = 500  # rows that are read at once
_OF_ONE = ["org_id", "organization", "start", "backend", "location", *FIGURES]
_OF_ALL = ["org_id", "organization", *FIGURES]


def usage(request: HttpRequest, organization: Organization) -> HttpResponseBase:
    """Of one organization: a row for each hour or day, and location."""
    target = Target("Usage", str(organization.pk), str(organization))
    rows = partial(_rows_of_one, organization)
    return _file(request, rows, _OF_ONE, f"usage-{organization.pk}", target, organization.pk)


def usage_of_all(request: HttpRequest, seen: QuerySet[Organization]) -> HttpResponseBase:
    """Of all organizations that the user may see: a row for each, those that did nothing included."""
    target = Target("Usage", name="of organizations")
    return _file(request, partial(_rows_of_all, seen.order_by("pk")), _OF_ALL, "usage", target)


def _file(
    request: HttpRequest,
    read: Callable[[Period], Iterable[list[dict[str, Any]]]],
    columns: list[str],
    name: str,
    target: Target,
    org_id: UUID | None = None,
) -> HttpResponseBase:
    """The rows of the period that is asked for; 400 when that is none, for a file does not say which it shows."""
    try:
        period = periods.parse(request.GET)
    except PeriodError as error:
        return HttpResponseBadRequest(str(error), content_type="text/plain; charset=utf-8")
    details: dict[str, Any] = {"format": "csv", **period.bounds}
    acts.record(request, Act.EXPORTED, target, org_id=org_id, **details)
    return files.attachment(_pieces(read(period), columns), "csv", f"{name}-{_days(period)}")


def _pieces(batches: Iterable[list[dict[str, Any]]], columns: list[str]) -> Iterator[str]:
    yield csv_lines([], columns, header=True)
    for rows in batches:
        yield csv_lines(rows, columns, header=False)


def _rows_of_one(organization: Organization, period: Period) -> Iterator[list[dict[str, Any]]]:
    query = {
        "granularity": period.granularity,
        "from": period.start,
        "to": period.end,
        "org": [organization.pk],
        "group_by": ["start", "backend", "location"],
        "page_size": BATCH,
    }
    head = {"org_id": str(organization.pk), "organization": organization.display_name}
    after: list[Any] | None = None
    while True:
        page = api_usage.read_page(query, after)
        yield [{**head, **row} for row in page.rows]
        if page.end is None:
            return
        after = page.end


def _rows_of_all(seen: QuerySet[Organization], period: Period) -> Iterator[list[dict[str, Any]]]:
    last: UUID | None = None
    while True:
        ids = list((seen if last is None else seen.filter(pk__gt=last)).values_list("pk", flat=True)[:BATCH])
        if not ids:
            return
        names = organizations.names_of(ids)
        found = organization_usage.by_organization(ids, period)
        yield [
            {
                "org_id": str(each),
                "organization": names.get(each, ""),
                **figures_of(found[each]),
            }
            for each in ids
        ]
        last = ids[-1]


def _days(period: Period) -> str:
    first, last = period.start.astimezone(UTC), period.last
    return f"{first:%Y-%m-%d}" if first.date() == last else f"{first:%Y-%m-%d}-to-{last:%Y-%m-%d}"
