"""Reads one artifact to its end, and says what it is: sound, corrupt or missing."""

from collections.abc import Callable
from contextlib import closing

from artifacts import scrub_findings
from artifacts.block_hashes import HASHED_BLOCK, BlockHasher
from artifacts.digests import Digest, Readable, VerifyingReader
from artifacts.exceptions import ArtifactNotFound, DigestMismatch, IncompleteBody, StorageError
from artifacts.models import Artifact, Location
from artifacts.scrub_findings import Finding, State
from artifacts.storage import ObjectReader, Store, StoredObject, open_store
from artifacts.storage.errors import storage_errors
from common.transactions import write_transaction

_TRIES = 3  # of an artifact that is replaced while it is read

Wrap = Callable[[ObjectReader], Readable]


def verify(artifact: Artifact) -> Finding:
    """Read all of it now, and write down what was found. Raises StorageError, django.db.Error."""
    with storage_errors():
        finding = examine(open_store(artifact.location), artifact.location, Digest(artifact.digest))
    with write_transaction():
        return scrub_findings.record(artifact.location, finding)


def examine(store: Store, location: Location, digest: Digest, wrap: Wrap = lambda file: file) -> Finding:
    """Read the artifact, again when it was replaced or removed meanwhile; nothing is written down.

    `wrap` may pace the reading. Raises StorageError, and what the storage and `wrap` raise.
    """
    for _ in range(_TRIES):
        # Before the storage is asked: whatever an upload changes after that changes the label too.
        label = scrub_findings.find_label(location, digest)
        found = store.stat(digest)
        if found is None:
            return Finding(digest, State.MISSING, label)
        try:
            hashes = _read(store, digest, found, wrap)
        except ArtifactNotFound:
            continue
        except (DigestMismatch, IncompleteBody) as error:
            if store.stat(digest) == found:
                if isinstance(error, IncompleteBody):  # it is as long as ever: its transfer broke off
                    raise StorageError("The storage handed out less than it has.") from error
                return Finding(digest, State.CORRUPT, label, found)
        else:
            if label is None:  # it gets one, and uploads count on what has one
                store.settle(digest)
            return Finding(digest, State.SOUND, label, found, hashes)
    return Finding(digest, State.UNREADABLE, detail="It changes while it is read.")


def _read(store: Store, digest: Digest, found: StoredObject, wrap: Wrap) -> list[bytes]:
    hasher = BlockHasher() if found.size_bytes > HASHED_BLOCK else None
    with closing(store.open(digest)) as file:
        for _ in VerifyingReader(wrap(file), expected=digest, length=found.size_bytes, also=hasher):
            pass
    return hasher.hashes if hasher else []
