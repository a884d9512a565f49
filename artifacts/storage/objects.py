"""What stores over object services have in common."""

from collections.abc import Container, Iterator
from datetime import datetime
from itertools import groupby

from artifacts.digests import Digest, digests_among
from artifacts.exceptions import ArtifactNotFound
from artifacts.storage.base import ObjectReader, Partial, Staged, Store, StoredObject
from artifacts.storage.object_service import INCOMING, PREFIX, ObjectService
from artifacts.storage.pieces import PartialInPieces
from artifacts.storage.staging import StagedObject


class ObjectStore(ObjectService, Store):
    """Artifacts under the key `sha256:<hex>`, as Chainloop's object-store backends keep theirs.

    What is on its way lies under `.incoming/`.
    """

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

    def sweep(self, before: datetime, live: Container[str] = ()) -> int:
        with self.errors():
            return self._sweep_incoming(before, live) + self.abandoned(before)

    def _sweep_incoming(self, before: datetime, live: Container[str]) -> int:
        count = 0
        # The pieces of one upload live as long as the newest of them: it may still be growing.
        for name, group in groupby(self.entries(INCOMING), lambda entry: entry.key.split("/")[1]):
            pieces = list(group)
            if name not in live and max(piece.modified_at for piece in pieces) < before:
                for piece in reversed(pieces):  # some services list a folder, and remove it only when it is empty
                    self.remove(piece.key)
                count += 1
        return count

    def check(self) -> None:
        """Nothing that is cheap tells: a probe must not cost a round trip to a vendor every few seconds."""
