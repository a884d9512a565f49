"""Compares what a location stores with what is labelled there, and with what was uploaded to it, in bounded memory."""

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from artifacts.digests import Digest
from artifacts.models import Artifact, Location
from artifacts.scrubbing import labelled_digests
from artifacts.storage import open_store


class Kind(StrEnum):
    MISSING = "missing_object"  # labelled, and not stored
    UNLABELLED = "unlabelled_object"  # stored, and not labelled
    UPLOAD_LOST = "upload_without_object"  # the trail has its upload, and it is not stored


@dataclass(frozen=True, slots=True)
class Difference:
    kind: Kind
    digest: Digest


def differences(
    location: Location, uploaded: Iterable[str], *, check: Callable[[], None] = lambda: None
) -> Iterator[Difference]:
    """What does not agree. `uploaded` are hex digests in order; `check` is called at each digest, and may raise.

    Raises StorageError. What changes while it is compared is asked for once more before it is told.
    """
    store = open_store(location)
    sides = [
        ((digest.hex, "stored") for digest in store.digests()),
        ((digest, "labelled") for digest in labelled_digests(location)),
        ((digest, "uploaded") for digest in uploaded),
    ]
    for hexdigest, found in groupby(heapq.merge(*sides), key=lambda pair: pair[0]):
        check()
        digest, where = Digest(hexdigest), {side for _, side in found}
        if "stored" not in where and store.stat(digest) is None:
            if "labelled" in where:
                yield Difference(Kind.MISSING, digest)
            if "uploaded" in where:
                yield Difference(Kind.UPLOAD_LOST, digest)
        elif "labelled" not in where and not _is_labelled(location, digest):
            yield Difference(Kind.UNLABELLED, digest)


def _is_labelled(location: Location, digest: Digest) -> bool:
    return Artifact.objects.filter(location=location, digest=digest.hex).exists()
