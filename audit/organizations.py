"""Organizations by name: of the ids that events hold, the names that people gave them, and back."""

import re
from collections.abc import Collection, Iterable
from datetime import timedelta
from uuid import UUID

from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from audit.models import Granularity, Organization, UsageTotal

MOST = 50  # organizations that one search finds
UNKNOWN = 1_000  # that are added at once

_ID = re.compile(r"[0-9a-f]{4,32}")  # a UUID's digits without its hyphens, or the first of them
_DIGITS = 32


def names_of(ids: Iterable[UUID | None]) -> dict[UUID, str]:
    """The display names of those that have one; by one query, so ask for a page's at once."""
    wanted = {each for each in ids if each is not None}
    if not wanted:
        return {}
    return dict(Organization.objects.filter(pk__in=wanted).exclude(display_name="").values_list("pk", "display_name"))


def matching(text: str) -> Q:
    """Of organizations: those with this in their name, in upper or lower case, or whose id begins so."""
    text = text.strip()
    found = Q(display_name__icontains=text)
    digits = text.lower().replace("-", "")
    if _ID.fullmatch(digits):
        # As a range, which the primary key's index serves on every database.
        found |= Q(pk__range=(UUID(digits.ljust(_DIGITS, "0")), UUID(digits.ljust(_DIGITS, "f"))))
    return found


def ids_named(text: str, allowed: Collection[UUID] | None = None) -> list[UUID]:
    """Up to MOST organizations that `text` may mean, by name; of `allowed` alone, unless it is None.

    A whole UUID is found whether or not there is an organization of it.
    """
    if not text.strip():
        return []
    if (whole := _uuid(text)) is not None:
        return [whole] if allowed is None or whole in allowed else []
    organizations = Organization.objects.filter(matching(text))
    if allowed is not None:
        organizations = organizations.filter(pk__in=allowed)
    return list(organizations.values_list("pk", flat=True)[:MOST])


def add_unknown() -> int:
    """Add organizations with usage of these two days that sealing did not; return how many.

    There are some after an upgrade: the release before sealed on, and knew of no organizations.
    """
    since = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    totals = UsageTotal.objects.filter(
        ~Exists(Organization.objects.filter(pk=OuterRef("org_id"))), granularity=Granularity.DAY, start__gte=since
    )
    ids = list(totals.order_by().values_list("org_id", flat=True).distinct()[:UNKNOWN])
    Organization.objects.bulk_create((Organization(org_id=each) for each in ids), ignore_conflicts=True)
    return len(ids)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text.strip())
    except ValueError:
        return None
