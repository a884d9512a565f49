"""What stores over object services have in common, over a few primitives that each service provides."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from artifacts.digests import Digest, digests_among
from artifacts.exceptions import ArtifactNotFound
from artifacts.storage.base import ObjectReader, Partial, Staged, Store, StoredObject
from artifacts.storage.errors import storage_errors
from artifacts.storage.pieces import PartialInPieces
from artifacts.storage.staging import INCOMING, Parts, StagedObject

PREFIX = "sha256:"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a service may be silent, in seconds, and how often a request is tried again."""

    connect: float = 5
    read: float = 30
    retries: int = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """An object in a listing."""

    key: str
    size_bytes: int
    modified_at: datetime


class ObjectStore(Store):
    """Artifacts under the key `sha256:<hex>`, as Chainloop's object-store backends keep theirs.

    What is on its way lies under `.incoming/`. Primitives take keys without the location's prefix, which is
    `root`, and raise their vendor's errors.
    """

    page_size = 1000  # entries of a listing that are fetched at once

    def __init__(self, location: str) -> None:
        prefix = location.strip("/")
        self.root = f"{prefix}/" if prefix else ""

    @abstractmethod
    def head(self, key: str) -> StoredObject | None:
        """What is stored under the key, None when there is nothing; a missing bucket is an error."""

    @abstractmethod
    def get(self, key: str, offset: int) -> ObjectReader | None:
        """Read from `offset` on; None when there is nothing."""

    @abstractmethod
    def put(self, key: str, content: bytes, file_name: str, *, replace: bool) -> bool:
        """Make an object at once; False when there is one already and `replace` is not set."""

    @abstractmethod
    def begin(self, key: str, file_name: str) -> Parts:
        """Begin an object that is sent in parts."""

    @abstractmethod
    def copy(self, source: str, target: str, file_name: str, *, replace: bool) -> bool:
        """Copy an object within the service; False when the target is there and `replace` is not set."""

    @abstractmethod
    def remove(self, key: str) -> None:
        """Delete an object, if it is there."""

    @abstractmethod
    def entries(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """Objects whose key begins with `prefix`, in order, perhaps only those after the key `after`."""

    def abandoned(self, before: datetime) -> int:
        """Abort uploads in parts that were last written before then, where the service keeps them; how many."""
        return 0

    def errors(self) -> AbstractContextManager[None]:
        """Turns the vendor's errors into ours."""
        return storage_errors()

    def stat(self, digest: Digest) -> StoredObject | None:
        with self.errors():
            return self.head(str(digest))

    def stage(self, digest: Digest | None = None, length: int | None = None, file_name: str = "") -> Staged:
        return StagedObject(self, digest, length, file_name)

    def open(self, digest: Digest, offset: int = 0) -> ObjectReader:
        with self.errors():
            reader = self.get(str(digest), offset)
        if reader is None:
            raise ArtifactNotFound
        return reader

    def delete(self, digest: Digest) -> None:
        with self.errors():
            self.remove(str(digest))

    def partial(self, name: str) -> Partial:
        return PartialInPieces(self, name)

    def digests(self, after: str = "") -> Iterator[Digest]:
        with self.errors():
            entries = self.entries(PREFIX, f"{PREFIX}{after}" if after else "")
            yield from digests_among((entry.key for entry in entries), after)

    def sweep(self, before: datetime) -> int:
        with self.errors():
            return self._sweep_incoming(before) + self.abandoned(before)

    def _sweep_incoming(self, before: datetime) -> int:
        count = 0
        # The pieces of one upload live as long as the newest of them: it may still be growing.
        for _, group in groupby(self.entries(INCOMING), lambda entry: entry.key.split("/")[1]):
            pieces = list(group)
            if max(piece.modified_at for piece in pieces) < before:
                for piece in reversed(pieces):  # some services list a folder, and remove it only when it is empty
                    self.remove(piece.key)
                count += 1
        return count

    def check(self) -> None:
        """Nothing that is cheap tells: a probe must not cost a round trip to a vendor every few seconds."""
