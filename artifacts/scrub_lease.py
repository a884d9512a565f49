"""Who works on a location's scrub: one process at a time, by a lease in the database that a crash lets run out."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from artifacts import quota
from artifacts.models import Location, Scrub

LEASE_SECONDS = 15  # after which another may go on with the pass of a process that died
RENEW_SECONDS = 3


class ScrubRunning(Exception):
    """Another process is scrubbing this location."""


class LeaseLost(Exception):
    """This process stood still for so long that another one may have taken over."""


class Lease:
    """The right to go on with a pass; every write to it says that it still holds."""

    def __init__(self, scrub: Scrub, holder: uuid.UUID) -> None:
        self.scrub = scrub
        self._holder = holder
        self._renewed = time.monotonic()

    def save(self, **values: Any) -> None:
        """Write to the pass and renew the lease; raises LeaseLost."""
        held = Scrub.objects.filter(pk=self.scrub.pk, lease=self._holder)
        if not held.update(leased_until=_expiry(), **values):
            raise LeaseLost(f"The scrub of {self.scrub.location} was taken over by another process.")
        for name, value in values.items():
            setattr(self.scrub, name, value)
        self._renewed = time.monotonic()

    def renew(self) -> None:
        """Keep the lease, if it is time to; raises LeaseLost."""
        if time.monotonic() - self._renewed > RENEW_SECONDS:
            self.save()


@contextmanager
def leased(location: Location, *, restart: bool = False) -> Iterator[Lease]:
    """Hold the location's unfinished pass, or a new one, for the `with` block; raises ScrubRunning.

    With `restart` an unfinished pass is thrown away.
    """
    scrub, holder = _take(location, restart=restart), uuid.uuid4()
    free = _free(Scrub.objects.filter(pk=scrub.pk, finished_at=None))
    if not free.update(lease=holder, leased_until=_expiry()):
        raise ScrubRunning(f"{location} is being scrubbed by another process.")
    scrub.refresh_from_db()
    try:
        yield Lease(scrub, holder)
    finally:
        Scrub.objects.filter(pk=scrub.pk, lease=holder).update(lease=None, leased_until=None)


def _take(location: Location, *, restart: bool) -> Scrub:
    unfinished = Scrub.objects.filter(location=location, finished_at=None)
    if restart:
        _free(unfinished).delete()
    scrub = unfinished.first()
    if scrub is not None:
        return scrub
    try:
        with transaction.atomic():
            return Scrub.objects.create(location=location, unaccounted_bytes=quota.unaccounted(location))
    except IntegrityError as error:
        raise ScrubRunning(f"{location} is being scrubbed by another process.") from error


def _free(scrubs: QuerySet[Scrub]) -> QuerySet[Scrub]:
    return scrubs.exclude(leased_until__gt=timezone.now())


def _expiry() -> datetime:
    return timezone.now() + timedelta(seconds=LEASE_SECONDS)
