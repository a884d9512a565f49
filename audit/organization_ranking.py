"""Which organizations did the most in a period.

Adding up a period's totals takes as long as there are totals. Few are added up at once, for whoever asks; of many, as
a hundred thousand organizations make in a month, a worker does it every few minutes and keeps the first of them.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from django.db.models import F, FloatField, QuerySet, Sum
from django.db.models.functions import Cast
from django.utils import timezone

from audit import periods
from audit.events import Kind
from audit.models import Organization, OrganizationRanking, UsageTotal
from audit.organization_usage import totals_of
from audit.periods import Period
from common.transactions import write_transaction

MOST = 1_000  # that are put in order; a person who wants another one searches
FEW = 10_000  # totals that are added up at once: less than a tenth of a second, on SQLite


class Measure(StrEnum):
    UPLOADED = "uploaded"
    DOWNLOADED = "downloaded"
    SAVED = "saved"
    MOVED = "moved"
    TRANSFERS = "transfers"


_COUNTED: dict[Measure, list[str]] = {
    Measure.UPLOADED: [Kind.UPLOADED],
    Measure.DOWNLOADED: [Kind.DOWNLOADED],
    Measure.SAVED: [Kind.DEDUPLICATED],
    Measure.MOVED: [Kind.UPLOADED, Kind.DOWNLOADED],
    Measure.TRANSFERS: list(Kind),
}


class Ranking(NamedTuple):
    """Up to MOST organizations, the most first; those that did nothing are not among them."""

    organizations: list[UUID]
    as_of: datetime | None = None  # None: now
    is_known: bool = True  # False: there are too many totals, and no worker has added them up


def ranked(measure: Measure, period: Period, among: "QuerySet[Organization] | None" = None) -> Ranking:
    """Of these organizations, by default of all, the first in a period."""
    totals = totals_of(period)
    if among is not None:
        totals = totals.filter(org_id__in=among.order_by().values("pk"))
    if _are_few(totals):  # of all kinds: that an index knows
        counted = totals.filter(kind__in=_COUNTED[measure], transfers__gt=0)
        # As floating point: to put in order, it is exact enough, and whatever sizes others claim add up.
        amounts = counted.values("org_id").annotate(amount=Sum(Cast(F(_column(measure)), FloatField())))
        return Ranking(list(amounts.order_by("-amount", "org_id").values_list("org_id", flat=True)[:MOST]))
    kept = OrganizationRanking.objects.filter(period=period.key, measure=measure).first()
    if kept is None:
        return Ranking([], is_known=False)
    ids = [UUID(each) for each in kept.organizations]
    if among is not None:
        chosen = set(among.filter(pk__in=ids).values_list("pk", flat=True))
        ids = [each for each in ids if each in chosen]
    return Ranking(ids, kept.ranked_at)


def keep_rankings(now: datetime | None = None) -> int:
    """Rank the organizations of each preset period that has many totals; return how many periods that is."""
    count = 0
    for preset in periods.PRESETS:
        period = periods.preset(preset.key, now)
        if _are_few(totals_of(period)):
            OrganizationRanking.objects.filter(period=preset.key).delete()
            continue
        first = _first_of(period)
        with write_transaction():
            for measure, organizations in first.items():
                values = {"ranked_at": now or timezone.now(), "organizations": organizations}
                OrganizationRanking.objects.update_or_create(period=preset.key, measure=measure, defaults=values)
        count += 1
    return count


def _first_of(period: Period) -> dict[Measure, list[str]]:
    """By each measure, from one pass over the totals."""
    sums = totals_of(period).filter(transfers__gt=0).values("org_id", "kind").order_by()
    sums = sums.annotate(size=Sum(Cast(F("bytes"), FloatField())), count=Sum("transfers"))
    amounts: dict[Measure, dict[UUID, float]] = {measure: defaultdict(float) for measure in Measure}
    for organization, kind, size, count in sums.values_list("org_id", "kind", "size", "count").iterator():
        for measure, kinds in _COUNTED.items():
            if kind in kinds:
                amounts[measure][organization] += count if measure == Measure.TRANSFERS else size
    return {measure: _first(found.items()) for measure, found in amounts.items()}


def _first(amounts: Iterable[tuple[UUID, float]]) -> list[str]:
    most = heapq.nsmallest(MOST, amounts, key=lambda each: (-each[1], each[0]))
    return [str(organization) for organization, _ in most]


def _column(measure: Measure) -> str:
    return "transfers" if measure == Measure.TRANSFERS else "bytes"


def _are_few(totals: "QuerySet[UsageTotal]") -> bool:
    return not totals.order_by()[FEW : FEW + 1].exists()
