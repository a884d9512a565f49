"""How much a location may hold. Bytes are reserved before they are placed: no two uploads share the last."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db.models import F, QuerySet, Sum, Value
from django.db.models.functions import Greatest

from artifacts.exceptions import StorageFull
from artifacts.models import Artifact, Location

_NO_ROOM = "The location's quota has no room for this artifact."


def check_room(location: Location, size: int) -> None:
    """Raise StorageFull when so many bytes plainly have no room. It reserves nothing."""
    if location.quota_bytes is not None and not _with_room(location, size).exists():
        raise StorageFull(_NO_ROOM)


class Reservation:
    """Bytes set aside in a location; given back unless `keep` is called."""

    def __init__(self) -> None:
        self.is_kept = False

    def keep(self) -> None:
        self.is_kept = True


@contextmanager
def reserved(location: Location, size: int) -> Iterator[Reservation]:
    """Set so many bytes aside for the `with` block; raises StorageFull. Where there is no quota it does nothing."""
    reservation = Reservation()
    if location.quota_bytes is None:
        yield reservation
        return
    # Of a location whose quota was taken away a moment ago, nothing is set aside either.
    is_limited = Location.objects.filter(pk=location.pk, quota_bytes__isnull=False)
    if not _with_room(location, size).update(used_bytes=F("used_bytes") + size) and is_limited.exists():
        raise StorageFull(_NO_ROOM)
    try:
        yield reservation
    finally:
        if not reservation.is_kept:
            adjust(location, -size)


def adjust(location: Location, difference: int) -> None:
    """Count so many bytes more as used, or less; where there is no quota, nothing is counted."""
    if difference:
        Location.objects.filter(pk=location.pk, quota_bytes__isnull=False).update(
            used_bytes=Greatest(F("used_bytes") + difference, Value(0))  # a recount may have been there before
        )


def unaccounted(location: Location) -> int:
    """Bytes counted as used, less those that are labelled: of uploads on their way, and of those that crashed."""
    stored = Artifact.objects.filter(location=location, missing_at=None).aggregate(total=Sum("size_bytes"))["total"]
    used = Location.objects.filter(pk=location.pk).values_list("used_bytes", flat=True).get()
    return used - int(stored or 0)


def settle(location: Location, unaccounted_before: int) -> None:
    """Take off what a crash left counted; `unaccounted_before` is what was unaccounted for some time ago.

    What is unaccounted for now alone belongs to uploads on their way, which a plain recount would forget.
    """
    now = unaccounted(location)
    adjust(location, -(now if now < 0 else max(0, min(now, unaccounted_before))))


def _with_room(location: Location, size: int) -> QuerySet[Location]:
    # By what the database says now: this location may have been read a moment ago. No sum may overflow.
    return Location.objects.filter(pk=location.pk, used_bytes__lte=F("quota_bytes") - size)
