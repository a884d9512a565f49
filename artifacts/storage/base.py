"""What the rest of the app sees of a store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from types import TracebackType
from typing import BinaryIO, Self

from artifacts.digests import Digest


class Staged(ABC):
    """An upload on its way in: invisible until `place`, gone after the `with` block unless placed."""

    @abstractmethod
    def write(self, block: bytes) -> None:
        """Append bytes; raises StorageFull or StorageError."""

    @abstractmethod
    def place(self, digest: Digest, *, replace: bool = False) -> bool:
        """Make what was written the artifact of this digest, durably.

        Returns False when the artifact is there already and `replace` is not set: twin uploads make one
        object, and one of them is told so. Raises StorageFull or StorageError.
        """

    @abstractmethod
    def discard(self) -> None:
        """Leave nothing behind of what was not placed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.discard()


class Store(ABC):
    """The artifacts of one location. Every method raises StorageError when the storage fails."""

    @abstractmethod
    def size(self, digest: Digest) -> int | None:
        """Bytes stored under this digest, None when there is nothing."""

    @abstractmethod
    def modified_at(self, digest: Digest) -> datetime:
        """When it was stored; raises ArtifactNotFound."""

    @abstractmethod
    def stage(self) -> Staged:
        """Begin an upload; raises StorageFull."""

    @abstractmethod
    def open(self, digest: Digest) -> BinaryIO:
        """Open for reading from the start; raises ArtifactNotFound."""

    @abstractmethod
    def delete(self, digest: Digest) -> None:
        """Remove it; nothing happens when it is not there."""

    @abstractmethod
    def check(self) -> None:
        """Raise StorageError when the store can plainly not be used. Cheap enough for a readiness probe."""
