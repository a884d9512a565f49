"""What the rest of the app sees of a store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Iterator
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from artifacts.digests import Digest


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What the storage itself knows of an artifact; `file_name` is "" where it keeps no names."""

    size_bytes: int
    modified_at: datetime
    file_name: str = ""


class ObjectReader(Protocol):
    """Bytes on their way out of a store, as they arrive."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, b"" at the end. What the storage raises, it raises as it is."""

    def close(self) -> None:
        """Let go of the connection or file, also half-way."""


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


class Partial(ABC):
    """An upload that arrives in pieces, each kept as it comes: it outlives the process that takes it."""

    block_size: int  # bytes that are worth an `append`; the last may be smaller

    @abstractmethod
    def size(self) -> int:
        """Bytes there are so far, in one run from the start."""

    @abstractmethod
    def append(self, offset: int, block: bytes) -> None:
        """Add bytes at the end; raises OffsetMismatch unless that is at `offset`, StorageFull, StorageError.

        Two writers at once cannot mix their bytes: of two blocks for one offset, one is taken.
        """

    @abstractmethod
    def open(self) -> ObjectReader:
        """Read what is there, from the start."""

    @abstractmethod
    def stage(self, digest: Digest | None, file_name: str) -> Staged:
        """Begin to make it an artifact: whoever reads it through writes each block to what this returns.

        A store that can place what it holds ignores these writes.
        """

    @abstractmethod
    def discard(self) -> None:
        """Leave nothing of it."""


class Store(ABC):
    """The artifacts of one location. Every method raises StorageError when the storage fails."""

    @abstractmethod
    def stat(self, digest: Digest) -> StoredObject | None:
        """What is stored under this digest, None when there is nothing."""

    @abstractmethod
    def stage(self, digest: Digest | None = None, length: int | None = None, file_name: str = "") -> Staged:
        """Begin an upload; `digest`, `length` (bytes) and `file_name` as far as they are known. Raises StorageFull."""

    @abstractmethod
    def open(self, digest: Digest, offset: int = 0) -> ObjectReader:
        """Open for reading from `offset` to the end; raises ArtifactNotFound."""

    def settle(self, digest: Digest) -> None:  # noqa: B027  (object stores show nothing that they have not kept)
        """Make durable what is found stored, by whomever and however far they came; raises StorageError."""

    @abstractmethod
    def delete(self, digest: Digest) -> None:
        """Remove it; nothing happens when it is not there."""

    @abstractmethod
    def partial(self, name: str) -> Partial:
        """The upload in pieces of this name (letters, digits, dashes), which need not exist yet."""

    @abstractmethod
    def digests(self, after: str = "") -> Iterator[Digest]:
        """All that is stored, in order of digest, from the first whose hex is greater than `after`."""

    @abstractmethod
    def sweep(self, before: datetime, live: Container[str] = ()) -> int:
        """Remove what uploads left behind that were last written before then; returns how many.

        `live` are the names of uploads in pieces that stay, however old they are.
        """

    @abstractmethod
    def check(self) -> None:
        """Raise StorageError when the store can plainly not be used. Cheap enough for a readiness probe."""
