"""Each location: its credentials can be read, and an artifact can be written, read back and deleted."""

import shutil
import time
from collections.abc import Iterator
from functools import partial

from artifacts.credentials import CredentialsUnreadable
from artifacts.exceptions import ArtifactError
from artifacts.location_faults import explain
from artifacts.models import Location
from artifacts.storage import open_store
from artifacts.storage.probe import probe
from casproject.doctor.findings import Finding, Trial, fail, ok, warn
from common.sizes import format_size

PART = "location"
REMEDY = "“Test this location” in the admin tries it again; docs/storages.md has what each backend needs."
FEW_BYTES, VERY_FEW_BYTES = 5 * 1024**3, 200 * 1024**2


def trials() -> list[Trial]:
    """One for each location, so that one that does not answer keeps none from being tried; raises django.db.Error."""
    locations = list(Location.objects.order_by("backend", "name"))
    if not locations:
        return [Trial(PART, _none, "")]
    return [Trial(f"{PART} {location}", partial(_examine, location), REMEDY) for location in locations]


def _none() -> Iterator[Finding]:
    yield warn(PART, "there is none: nothing can be uploaded", "Make one in the admin, or `manage.py create_location`.")


def _examine(location: Location) -> Iterator[Finding]:
    part = f"{PART} {location}"
    try:
        location.credentials  # noqa: B018  (decrypts them)
    except CredentialsUnreadable:
        yield fail(part, "no key decrypts its credentials", "Put the key that did back into CAS_CREDENTIAL_KEYS.")
        return
    started = time.monotonic()
    try:
        probe(open_store(location))
    except ArtifactError as error:
        yield fail(part, explain(error, location).removesuffix("."), REMEDY)
        return
    yield ok(part, f"written, read and deleted in {(time.monotonic() - started) * 1000:.0f} ms")
    if location.backend == "FILESYSTEM":
        yield free_space(part, location.options["location"])


def free_space(part: str, folder: str) -> Finding:
    """How much room a folder's file system has; raises OSError."""
    free = shutil.disk_usage(folder).free
    text = f"{format_size(free)} free in {folder}"
    if free < VERY_FEW_BYTES:
        return fail(part, text, "Make room: uploads answer 507, and events may find no place.")
    if free < FEW_BYTES:
        return warn(part, text, "Make room before uploads answer 507.")
    return ok(part, text)
