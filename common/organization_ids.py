"""Which organization a token names: one answer, for who may use a location and for whose event it is."""

import re
from functools import lru_cache
from uuid import UUID

# What Go's uuid.Parse takes, for the control plane is written in it; Python's UUID takes a good deal more.
_UUID = re.compile(r"(urn:uuid:)?\{?[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}\}?", re.IGNORECASE)


@lru_cache(maxsize=1000)
def parse_organization(org_id: str) -> UUID | None:
    """The organization of a token's `org-id`; None when that is no UUID."""
    return UUID(org_id.lower()) if _UUID.fullmatch(org_id) else None
