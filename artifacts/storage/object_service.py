"""What each object service provides: a few primitives, over which all else is done in one way."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from artifacts.storage.base import ObjectReader, StoredObject
from artifacts.storage.errors import storage_errors

PREFIX = "sha256:"  # of the keys of artifacts
INCOMING = ".incoming/"  # of the keys of what is on its way
PART_BYTES = 8 * 1024**2  # S3 and R2 take no fewer than 5 MiB; GCS wants a multiple of 256 KiB
MAX_PARTS = 10_000  # S3's limit; Azure's is 50,000


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


class Parts(ABC):
    """An object on its way in parts, invisible until it is complete. One thread at a time uses it."""

    @abstractmethod
    def add(self, part: bytes) -> None:
        """Send a part that is not the last."""

    @abstractmethod
    def complete(self, last: bytes, *, replace: bool) -> bool:
        """Send the last part and make the object; False when there is one already and `replace` is not set."""

    @abstractmethod
    def abort(self) -> None:
        """Leave nothing of it."""


class ObjectService(ABC):
    """Primitives take keys without the location's prefix, which is `root`, and raise their vendor's errors."""

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
