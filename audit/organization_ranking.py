"""Which organizations did the most in a period."""

from enum import StrEnum
from uuid import UUID

from django.db.models import F, FloatField, QuerySet, Sum
from django.db.models.functions import Cast

from audit.models import Organization, UsageTotal
from audit.organization_usage import totals_of
from audit.periods import Period

MOST = 1_000  # that are put in order; a person who wants another one searches

_KINDS = UsageTotal.Kind


class Measure(StrEnum):
    UPLOADED = "uploaded"
    DOWNLOADED = "downloaded"
    SAVED = "saved"
    MOVED = "moved"
    TRANSFERS = "transfers"


_COUNTED: dict[Measure, list[str]] = {
    Measure.UPLOADED: [_KINDS.UPLOADED],
    Measure.DOWNLOADED: [_KINDS.DOWNLOADED],
    Measure.SAVED: [_KINDS.DEDUPLICATED],
    Measure.MOVED: [_KINDS.UPLOADED, _KINDS.DOWNLOADED],
    Measure.TRANSFERS: list(_KINDS.values),
}


def ranked(measure: Measure, period: Period, among: "QuerySet[Organization] | None" = None) -> list[UUID]:
    """Up to MOST organizations, most first; those that did nothing are not among them."""
    column = "transfers" if measure == Measure.TRANSFERS else "bytes"
    totals = totals_of(period).filter(kind__in=_COUNTED[measure], transfers__gt=0)
    if among is not None:
        totals = totals.filter(org_id__in=among.order_by().values("pk"))
    # As floating point: to put in order, it is exact enough, and whatever sizes others claim add up.
    amounts = totals.values("org_id").annotate(amount=Sum(Cast(F(column), FloatField())))
    return list(amounts.order_by("-amount", "org_id").values_list("org_id", flat=True)[:MOST])
