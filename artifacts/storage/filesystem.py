"""A folder: each upload goes into a temp file beside its place, and appears there at once and durably.

Commit order as in buchgr/bazel-remote `cache/disk/disk.go`: write, fsync, link into place, fsync the folder.
"""

import errno
import os
import secrets
from collections.abc import Container, Iterator
from datetime import UTC, datetime
from pathlib import Path

from django.core.files.storage import FileSystemStorage

from artifacts.digests import Digest, digests_among
from artifacts.exceptions import ArtifactNotFound, StorageError
from artifacts.storage.base import ObjectReader, Partial, Staged, Store, StoredObject
from artifacts.storage.errors import storage_errors
from artifacts.storage.partial_file import PARTIAL, PartialFile, remove_files, write_all
from artifacts.storage.write_back import WriteBack
from common.folders import sync_folder

INCOMING = ".incoming"  # uploads on their way in, on the same file system as their place

_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}


class FileSystemStore(Store):
    """Artifacts in `<location>/sha256/<first two digits>/<hex>`. The folder itself must exist.

    A missing folder is an unmounted disk more often than a new one, so it is an error, not created.
    """

    def __init__(self, storage: FileSystemStorage) -> None:
        self._root = Path(storage.location)
        self._synced: set[str] = set()  # first two digits whose folders are durable

    def path_of(self, digest: Digest) -> Path:
        return Path(self._name_of(digest))

    def _name_of(self, digest: Digest) -> str:
        # For what every transfer does: a Path takes longer to make, part by part, than the file to open.
        return f"{self._root}/sha256/{digest.hex[:2]}/{digest.hex}"

    def stat(self, digest: Digest) -> StoredObject | None:
        with storage_errors():
            try:
                found = os.stat(self._name_of(digest))  # noqa: PTH116  (as below)
            except FileNotFoundError:
                self.check()
                return None
        return StoredObject(found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))

    def stage(self, digest: Digest | None = None, length: int | None = None, file_name: str = "") -> Staged:
        temp = Path(f"{self._root}/{INCOMING}/{secrets.token_hex(16)}")
        with storage_errors():
            try:
                descriptor = _create(temp)
            except FileNotFoundError:
                self._incoming()
                descriptor = _create(temp)
            return _StagedFile(self, descriptor, temp)

    def open(self, digest: Digest, offset: int = 0) -> ObjectReader:
        with storage_errors():
            try:
                file = open(self._name_of(digest), "rb", buffering=0)  # noqa: PTH123, SIM115  (as below)
            except FileNotFoundError as error:
                raise ArtifactNotFound from error
            if offset:
                file.seek(offset)
            return file

    def settle(self, digest: Digest) -> None:
        with storage_errors():
            with self.path_of(digest).open("rb") as file:
                os.fsync(file.fileno())
            self._make_folders(digest)
            sync_folder(self.path_of(digest).parent)

    def delete(self, digest: Digest) -> None:
        with storage_errors():
            self.path_of(digest).unlink(missing_ok=True)

    def partial(self, name: str) -> Partial:
        with storage_errors():
            return _Partial(self, self._incoming() / f"{name}{PARTIAL}")

    def digests(self, after: str = "") -> Iterator[Digest]:
        self.check()
        with storage_errors():
            for shard in _entries(self._root / "sha256"):
                if len(shard) == 2 and shard >= after[:2]:  # noqa: PLR2004  (what else there is, is not ours)
                    names = _entries(self._root / "sha256" / shard)
                    yield from digests_among((f"sha256:{name}" for name in names if name.startswith(shard)), after)

    def sweep(self, before: datetime, live: Container[str] = ()) -> int:
        self.check()
        with storage_errors():
            return remove_files(self._root / INCOMING, before, live)

    def check(self) -> None:
        with storage_errors():
            is_there = self._root.is_dir()
        if not is_there:
            raise StorageError("The location's folder does not exist.")

    def link(self, temp: Path, digest: Digest, *, replace: bool) -> bool:
        """Give a written and synced file its place, durably; False when the place is taken and not to be replaced."""
        target = self.path_of(digest)
        self._make_folders(digest)
        try:
            is_placed = _place(temp, target, replace=replace)
        except FileNotFoundError:  # somebody removed an empty folder that was known to be there
            self._synced.clear()
            self._make_folders(digest)
            is_placed = _place(temp, target, replace=replace)
        # Also when a twin was first: it may have linked the file and not yet synced the folder.
        sync_folder(target.parent)
        return is_placed

    def _make_folders(self, digest: Digest) -> None:
        # Whoever finds a folder cannot know whether its maker has synced it, so each process does, once.
        shard = digest.hex[:2]
        if shard in self._synced:
            return
        for folder in (self._root / "sha256", self._root / "sha256" / shard):
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)
        self._synced.add(shard)

    def _incoming(self) -> Path:
        self.check()
        incoming = self._root / INCOMING
        incoming.mkdir(exist_ok=True)
        return incoming


class _StagedFile(Staged):
    def __init__(self, store: FileSystemStore, descriptor: int, temp: Path) -> None:
        self._store = store
        self._descriptor = descriptor
        self._temp = temp
        self._write_back = WriteBack(descriptor)

    def write(self, block: bytes) -> None:
        # Unbuffered, so that closing has nothing left to write to a full disk.
        with storage_errors():
            write_all(self._descriptor, block)
            self._write_back.wrote(len(block))

    def place(self, digest: Digest, *, replace: bool = False) -> bool:
        with storage_errors():
            self._write_back.finish()
            os.fsync(self._descriptor)
            return self._link(digest, replace=replace)

    def _link(self, digest: Digest, *, replace: bool) -> bool:
        return self._store.link(self._temp, digest, replace=replace)

    def discard(self) -> None:
        with storage_errors():
            try:
                self._write_back.stop()
                os.close(self._descriptor)
            finally:
                self._temp.unlink(missing_ok=True)


class _Partial(PartialFile):
    def __init__(self, store: FileSystemStore, path: Path) -> None:
        super().__init__(path)
        self._store = store

    def stage(self, digest: Digest | None, file_name: str) -> Staged:
        with storage_errors():
            return _StagedPartial(self._store, os.open(self.path, os.O_RDWR), self.path)


class _StagedPartial(_StagedFile):
    """What is to be placed is written already, and stays when it is not placed: whoever began it decides."""

    def write(self, block: bytes) -> None:
        pass

    def _link(self, digest: Digest, *, replace: bool) -> bool:
        if not replace:
            return super()._link(digest, replace=False)
        # What replaces is renamed: where there are hard links, under another name that it has for that.
        other = self._temp.with_suffix(".placed")
        try:
            other.unlink(missing_ok=True)
            other.hardlink_to(self._temp)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            return super()._link(digest, replace=True)
        try:
            return self._store.link(other, digest, replace=True)
        finally:
            other.unlink(missing_ok=True)  # it is still there when both names were one file's already

    def discard(self) -> None:
        with storage_errors():
            os.close(self._descriptor)


def _create(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _place(temp: Path, target: Path, *, replace: bool) -> bool:
    if replace:
        temp.replace(target)
        return True
    try:
        target.hardlink_to(temp)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if target.exists():
            return False
        temp.replace(target)  # nearly as good: a twin may come in between
    return True


def _entries(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
