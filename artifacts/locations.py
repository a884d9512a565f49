"""From a grant to its location, kept for a moment: it is asked for with every request, and changes by hand."""

import time
from typing import Any

import django.db
from django.conf import settings
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from artifacts.exceptions import LocationNotFound, WrongOrganization
from artifacts.models import Location
from artifacts.tokens import Grant
from common.first_query import first_query
from common.organization_ids import parse_organization

REMEMBERED = 1.0  # seconds until a change that another process made is seen
_SHOWN = 100  # characters of a name that is none

_known: dict[tuple[str, str], tuple[float, Location]] = {}


def find_location(grant: Grant) -> Location:
    """The location the token names: as it was read last, while the database is away.

    That was CAS_WITHOUT_DATABASE_SECONDS ago at most. Raises LocationNotFound, WrongOrganization, django.db.Error.
    """
    key = (grant.backend, grant.secret_id)
    read_at, location = _known.get(key, (0.0, None))
    if location is None or time.monotonic() - read_at > REMEMBERED:
        try:
            location = first_query(Location.objects.filter(backend=grant.backend, name=grant.secret_id).first)
        except django.db.Error:
            if location is None or not is_fresh(read_at):
                raise
        else:
            if location is None:
                _known.pop(key, None)
                raise LocationNotFound(_missing(grant))
            remember(location)
    if location.organization is not None and location.organization != parse_organization(grant.org_id):
        raise WrongOrganization
    return location


def remember(location: Location) -> None:
    """Keep a location that was read just now."""
    _known[location.backend, location.name] = (time.monotonic(), location)


def remembered() -> list[Location]:
    """Those that transfers may use without the database."""
    return [location for read_at, location in list(_known.values()) if is_fresh(read_at)]


def _missing(grant: Grant) -> str:
    backend, name = (text[:_SHOWN] for text in (grant.backend, grant.secret_id))
    return f"The token names a location that does not exist: backend {backend!r}, secret-id {name!r}."


def is_fresh(read_at: float) -> bool:
    """Whether what was read then, by time.monotonic, may be gone by without the database."""
    return time.monotonic() - read_at <= settings.CAS_WITHOUT_DATABASE_SECONDS


@receiver([post_save, post_delete], sender=Location)
def forget(**kwargs: Any) -> None:
    """What this process changes it sees at once."""
    _known.clear()
