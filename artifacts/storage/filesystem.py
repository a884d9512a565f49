"""A folder: each upload goes into a temp file beside its place, and appears there at once and durably.

Commit order as in buchgr/bazel-remote `cache/disk/disk.go`: write, fsync, link into place, fsync the folder.
"""

import errno
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from django.core.files.storage import FileSystemStorage

from artifacts.digests import Digest
from artifacts.exceptions import ArtifactNotFound, StorageError
from artifacts.storage.base import Staged, Store
from artifacts.storage.errors import storage_errors

INCOMING = ".incoming"  # uploads on their way in, on the same file system as their place

_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}


class FileSystemStore(Store):
    """Artifacts in `<location>/sha256/<first two digits>/<hex>`. The folder itself must exist.

    A missing folder is an unmounted disk more often than a new one, so it is an error, not created.
    """

    def __init__(self, storage: FileSystemStorage) -> None:
        self._root = Path(storage.location)

    def _path(self, digest: Digest) -> Path:
        return self._root / "sha256" / digest.hex[:2] / digest.hex

    def size(self, digest: Digest) -> int | None:
        self.check()
        with storage_errors():
            try:
                return self._path(digest).stat().st_size
            except FileNotFoundError:
                return None

    def modified_at(self, digest: Digest) -> datetime:
        with storage_errors():
            try:
                return datetime.fromtimestamp(self._path(digest).stat().st_mtime, UTC)
            except FileNotFoundError as error:
                raise ArtifactNotFound from error

    def stage(self) -> Staged:
        self.check()
        with storage_errors():
            return _StagedFile(self._root, self._path)

    def open(self, digest: Digest) -> BinaryIO:
        with storage_errors():
            try:
                return self._path(digest).open("rb", buffering=0)
            except FileNotFoundError as error:
                raise ArtifactNotFound from error

    def delete(self, digest: Digest) -> None:
        with storage_errors():
            self._path(digest).unlink(missing_ok=True)

    def check(self) -> None:
        with storage_errors():
            is_there = self._root.is_dir()
        if not is_there:
            raise StorageError("The location's folder does not exist.")


class _StagedFile(Staged):
    def __init__(self, root: Path, path_of: Callable[[Digest], Path]) -> None:
        incoming = root / INCOMING
        incoming.mkdir(exist_ok=True)
        self._descriptor, name = tempfile.mkstemp(dir=incoming)
        self._temp = Path(name)
        self._path_of = path_of

    def write(self, block: bytes) -> None:
        # Unbuffered, so that closing has nothing left to write to a full disk.
        with storage_errors():
            while block:
                block = block[os.write(self._descriptor, block) :]

    def place(self, digest: Digest, *, replace: bool = False) -> bool:
        target = self._path_of(digest)
        with storage_errors():
            os.fsync(self._descriptor)
            for folder in (target.parent.parent, target.parent):
                _make_durable_folder(folder)
            placed = self._rename(target) if replace else self._link(target)
            # Also when a twin was first: it may have linked the file and not yet synced the folder.
            _fsync_folder(target.parent)
        return placed

    def _link(self, target: Path) -> bool:
        try:
            target.hardlink_to(self._temp)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            return not target.exists() and self._rename(target)  # nearly as good: a twin may come in between
        return True

    def _rename(self, target: Path) -> bool:
        self._temp.replace(target)
        return True

    def discard(self) -> None:
        with storage_errors():
            try:
                os.close(self._descriptor)
            finally:
                self._temp.unlink(missing_ok=True)


def _make_durable_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        try:
            _fsync_folder(folder.parent)
        except OSError:
            with suppress(OSError):
                folder.rmdir()  # else the next upload would take it for durable
            raise


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
