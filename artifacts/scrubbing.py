"""Reads again all that a location holds, beside all that is known of it: damage is found before it is asked for.

What is stored and what is labelled come in order of digest, and the pass remembers the last that is done:
whoever goes on with it reads at most one artifact twice.
"""

import heapq
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from django.utils import timezone

from artifacts import quota, scrub_findings
from artifacts.digests import Digest
from artifacts.examining import examine
from artifacts.exceptions import StorageError
from artifacts.models import Artifact, Location, Scrub
from artifacts.rate_limit import RateLimit
from artifacts.scrub_findings import Finding, State
from artifacts.scrub_lease import Lease, leased
from artifacts.storage import ObjectReader, Store, open_store
from artifacts.storage.errors import storage_errors
from common.transactions import write_transaction

_PAGE = 1000  # digests of labels that are loaded at once
_FAILURES = 10  # artifacts in a row that a storage may fail to hand out, before it counts as failing itself


class Stopped(Exception):
    """Whoever watches wants the scrub to end now."""


class Watcher:
    """Is told of a scrub's progress. Each method may raise Stopped: what was done until then is kept."""

    def begun(self, scrub: Scrub) -> None:
        """A pass was begun, or is gone on with."""

    def read(self, count: int) -> None:
        """So many bytes were read; also called with 0 where nothing was."""

    def done(self, finding: Finding) -> None:
        """An artifact is done, and the pass remembers it."""


def scrub(
    location: Location,
    *,
    limit: RateLimit,
    watcher: Watcher,
    restart: bool = False,
    deadline: float = math.inf,
) -> Scrub:
    """Go on with the location's pass to its end, or until `deadline` (of time.monotonic) has come.

    The artifact that is being read is finished first. Raises ScrubRunning, LeaseLost, StorageError, Stopped,
    django.db.Error; the pass can be gone on with after each of them.
    """
    with leased(location, restart=restart) as lease:
        watcher.begun(lease.scrub)
        _Pass(location, lease, limit, watcher).run(deadline)
        lease.scrub.refresh_from_db()
        return lease.scrub


class _Pass:
    def __init__(self, location: Location, lease: Lease, limit: RateLimit, watcher: Watcher) -> None:
        self._location = location
        self._store = open_store(location)
        self._lease = lease
        self._limit = limit
        self._watcher = watcher
        self._failures = 0

    def run(self, deadline: float) -> None:
        for digest in digests_of(self._store, self._location, self._lease.scrub.after):
            self._watcher.read(0)
            self._keep(self._examine(digest))
            if time.monotonic() > deadline:
                return
        with write_transaction():
            self._lease.save(finished_at=timezone.now())
            quota.settle(self._location, self._lease.scrub.unaccounted_bytes)

    def _examine(self, digest: Digest) -> Finding:
        try:
            finding = examine(self._store, self._location, digest, self._paced)
        except StorageError as error:
            self._failures += 1
            if self._failures >= _FAILURES:
                raise
            self._store.check()
            return Finding(digest, State.UNREADABLE, detail=_explain(error))
        self._failures = 0
        return finding

    def _paced(self, file: ObjectReader) -> "_Paced":
        return _Paced(file, self._lease, self._limit, self._watcher)

    def _keep(self, finding: Finding) -> None:
        """Write down what was found and that the pass has come so far, both or neither."""
        with write_transaction():
            finding = scrub_findings.record(self._location, finding)
            self._lease.save(**scrub_findings.count(self._lease.scrub, finding))
        self._watcher.done(finding)


@dataclass(frozen=True, slots=True)
class _Paced:
    """Reads no faster than allowed, and keeps the lease meanwhile."""

    file: ObjectReader
    lease: Lease
    limit: RateLimit
    watcher: Watcher

    def read(self, size: int, /) -> bytes:
        with storage_errors():
            piece = self.file.read(min(size, self.limit.piece or size))
        self.limit.take(len(piece))
        self.lease.renew()
        self.watcher.read(len(piece))
        return piece


def digests_of(store: Store, location: Location, after: str = "") -> Iterator[Digest]:
    """All that is stored or labelled in a location, in order of digest, each once."""
    stored = (digest.hex for digest in store.digests(after))
    for hexdigest, _ in groupby(heapq.merge(stored, labelled_digests(location, after))):
        yield Digest(hexdigest)


def labelled_digests(location: Location, after: str = "") -> Iterator[str]:
    """The hex digests of all labels of a location, in order."""
    labels = Artifact.objects.filter(location=location).order_by("digest").values_list("digest", flat=True)
    while page := list(labels.filter(digest__gt=after)[:_PAGE]):
        yield from page
        after = page[-1]


def _explain(error: StorageError) -> str:
    return f"{error} {type(error.__cause__).__name__}" if error.__cause__ else str(error)
