"""What the front page adds up: the usage of a period, of all that somebody may see."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import QuerySet

from audit import organization_ranking, organization_usage, organizations
from audit.models import Organization, UsageSum
from audit.organization_ranking import Measure
from audit.periods import Period
from audit.usage import Usage
from audit.usage_sums import counts_of, sums

TOP = 10  # organizations

Seen = frozenset[UUID] | None  # the organizations that are seen; None: all


class Top(NamedTuple):
    """An organization that did much."""

    org_id: UUID
    name: str
    usage: Usage


def over_time(period: Period, seen: Seen) -> list[Usage]:
    """The usage in each of the period's hours or days, in order."""
    rows = _totals(period, seen).values("start").annotate(**sums()).order_by()
    found = {row["start"]: Usage(**counts_of(row)) for row in rows}
    return [found.get(start, Usage()) for start in period.starts]


def total(period: Period, seen: Seen) -> Usage:
    """All of the period."""
    return Usage(**counts_of(_totals(period, seen).aggregate(**sums())))


def before(period: Period) -> Period:
    """The period of the same length that ends where this one begins."""
    return Period("", period.start - (period.end - period.start), period.start, period.granularity)


def top_organizations(period: Period, seen: Seen) -> tuple[list[Top], datetime | None]:
    """Those that moved the most bytes, the most first; and when that was found, unless it was now."""
    among = None if seen is None else Organization.objects.filter(pk__in=seen)
    ranking = organization_ranking.ranked(Measure.MOVED, period, among)
    first = ranking.organizations[:TOP]
    usage, names = organization_usage.by_organization(first, period), organizations.names_of(first)
    return [Top(each, names.get(each, ""), usage[each]) for each in first], ranking.as_of


def _totals(period: Period, seen: Seen) -> "QuerySet[Any]":  # of one of two models with the same fields
    if seen is not None:
        return organization_usage.totals_of(period).filter(org_id__in=seen)
    return UsageSum.objects.filter(granularity=period.granularity, start__gte=period.start, start__lt=period.end)
