"""An upload in pieces, kept as one local file; and what such folders need besides."""

import fcntl
import os
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from artifacts.digests import BLOCK_SIZE
from artifacts.exceptions import OffsetMismatch
from artifacts.storage.base import ObjectReader, Partial
from artifacts.storage.errors import storage_errors

PARTIAL = ".partial"


class PartialFile(Partial):
    """Appends under a lock and only at the end, whoever else may think that the upload is theirs."""

    block_size = BLOCK_SIZE

    def __init__(self, path: Path) -> None:
        self.path = path

    def size(self) -> int:
        with storage_errors():
            try:
                return self.path.stat().st_size
            except FileNotFoundError:
                return 0

    def append(self, offset: int, block: bytes) -> None:
        with storage_errors(), _locked(self.path) as descriptor:
            if os.fstat(descriptor).st_size != offset:
                raise OffsetMismatch
            try:
                write_all(descriptor, block)
            except OSError:
                os.ftruncate(descriptor, offset)
                raise

    def open(self) -> ObjectReader:
        with storage_errors():
            return self.path.open("rb", buffering=0)

    def discard(self) -> None:
        with storage_errors():
            self.path.unlink(missing_ok=True)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def write_all(descriptor: int, block: bytes) -> None:
    """Write every byte; raises OSError."""
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]


def remove_files(folder: Path, before: datetime, live: Container[str]) -> int:
    """Remove the files last written before then, and return how many; a folder that is not there has none.

    `live` are the names of uploads in pieces that stay.
    """
    removed = 0
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(FileNotFoundError):  # its upload ended, or another process removes too
            if path.is_file() and path.stem not in live and path.stat().st_mtime < before.timestamp():
                path.unlink()
                removed += 1
    return removed
