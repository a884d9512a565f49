"""What organizations transferred in a period: sums of the totals that sealing keeps, by the index of organizations."""

from collections.abc import Collection
from typing import NamedTuple
from uuid import UUID

from django.db.models import QuerySet

from audit.models import UsageTotal
from audit.periods import Period
from audit.usage import Usage
from audit.usage_sums import counts_of, sums


class LocationUsage(NamedTuple):
    """What an organization transferred at one location."""

    backend: str
    location: str
    usage: Usage


def by_organization(organizations: Collection[UUID], period: Period) -> dict[UUID, Usage]:
    """The usage of each; of a page of them, for the cost grows with each."""
    rows = totals_of(period).filter(org_id__in=organizations).values("org_id").annotate(**sums()).order_by()
    found = {row["org_id"]: Usage(**counts_of(row)) for row in rows}
    return {organization: found.get(organization, Usage()) for organization in organizations}


def over_time(organization: UUID, period: Period) -> list[Usage]:
    """Its usage in each of the period's hours or days, in order."""
    rows = totals_of(period).filter(org_id=organization).values("start").annotate(**sums()).order_by()
    found = {row["start"]: Usage(**counts_of(row)) for row in rows}
    return [found.get(start, Usage()) for start in period.starts]


def by_location(organization: UUID, period: Period) -> list[LocationUsage]:
    """Its usage at each location, the most bytes moved first."""
    rows = totals_of(period).filter(org_id=organization).values("backend", "location").annotate(**sums()).order_by()
    found = [LocationUsage(row["backend"], row["location"], Usage(**counts_of(row))) for row in rows]
    return sorted(found, key=lambda each: (-each.usage.moved_bytes, -each.usage.transfers, each[:2]))


def totals_of(period: Period) -> "QuerySet[UsageTotal]":
    return UsageTotal.objects.filter(granularity=period.granularity, start__gte=period.start, start__lt=period.end)
