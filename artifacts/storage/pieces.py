"""An upload in pieces, each an object of its own: `.incoming/<name>/<offset, 20 digits>`."""

import re
from collections.abc import Iterator

from artifacts.digests import Digest
from artifacts.exceptions import OffsetMismatch
from artifacts.storage.base import ObjectReader, Partial, Staged
from artifacts.storage.object_service import INCOMING, PART_BYTES, Entry, ObjectService
from artifacts.storage.staging import StagedObject

_OFFSET = re.compile(r"[0-9]{20}")


class PartialInPieces(Partial):
    """Whoever writes the piece of an offset first has written it: services refuse a second one."""

    block_size = PART_BYTES  # each is an object

    def __init__(self, service: ObjectService, name: str) -> None:
        self._service = service
        self._prefix = f"{INCOMING}{name}/"
        self._size: int | None = None  # known after a listing, kept while this instance appends

    def _pieces(self) -> Iterator[Entry]:
        """The pieces that follow each other from the start."""
        end = 0
        for entry in self._service.entries(self._prefix):
            name = entry.key.removeprefix(self._prefix)
            if _OFFSET.fullmatch(name) and int(name) == end:
                end += entry.size_bytes
                yield entry

    def size(self) -> int:
        if self._size is None:
            with self._service.errors():
                self._size = sum(piece.size_bytes for piece in self._pieces())
        return self._size

    def append(self, offset: int, block: bytes) -> None:
        if offset != self.size():
            self._size = None  # another process may have written; the next look is at the truth
            raise OffsetMismatch
        if not block:
            return  # an empty piece would hold the place of the next
        with self._service.errors():
            is_ours = self._service.put(f"{self._prefix}{offset:020d}", block, "", replace=False)
        if not is_ours:
            self._size = None
            raise OffsetMismatch
        self._size = offset + len(block)

    def open(self) -> ObjectReader:
        with self._service.errors():
            return _PieceReader(self._service, list(self._pieces()))

    def stage(self, digest: Digest | None, file_name: str) -> Staged:
        return StagedObject(self._service, digest, self.size(), file_name)

    def discard(self) -> None:
        with self._service.errors():
            for entry in self._service.entries(self._prefix):
                self._service.remove(entry.key)
        self._size = None


class _PieceReader:
    def __init__(self, service: ObjectService, pieces: list[Entry]) -> None:
        self._service = service
        self._pieces = iter(pieces)
        self._reader: ObjectReader | None = None
        self._left = 0  # bytes of the current piece

    def read(self, size: int, /) -> bytes:
        while self._left == 0:
            self.close()
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._reader, self._left = self._service.get(piece.key, 0), piece.size_bytes
        block = self._reader.read(min(size, self._left)) if self._reader else b""
        if not block:
            raise OSError("A piece of the upload is gone, or ended early.")
        self._left -= len(block)
        return block

    def close(self) -> None:
        if self._reader is not None:
            reader, self._reader = self._reader, None
            reader.close()
