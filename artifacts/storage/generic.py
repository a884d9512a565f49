"""Any Django storage: the upload is staged in a local temp file, and saved once it is verified."""

import tempfile
from collections.abc import Container, Iterator
from datetime import datetime
from pathlib import Path
from typing import cast

from django.conf import settings
from django.core.files import File
from django.core.files.storage import Storage

from artifacts.digests import Digest, digests_among
from artifacts.exceptions import ArtifactNotFound, StorageError
from artifacts.storage.base import ObjectReader, Partial, Staged, Store, StoredObject
from artifacts.storage.errors import storage_errors
from artifacts.storage.partial_file import PARTIAL, PartialFile, remove_files


class GenericStore(Store):
    """Artifacts under the key `sha256:<hex>`, as Chainloop's object-store backends keep theirs."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def stat(self, digest: Digest) -> StoredObject | None:
        key = str(digest)
        with storage_errors():
            try:
                return StoredObject(self._storage.size(key), self._storage.get_modified_time(key))
            except FileNotFoundError:
                return None
            except Exception:
                # Some storages raise their vendor's error for a missing object.
                if self._storage.exists(key):
                    raise
                return None

    def stage(self, digest: Digest | None = None, length: int | None = None, file_name: str = "") -> Staged:
        with storage_errors():
            return _StagedCopy(self, self._storage)

    def open(self, digest: Digest, offset: int = 0) -> ObjectReader:
        with storage_errors():
            try:
                file = self._storage.open(str(digest), "rb")
            except FileNotFoundError as error:
                raise ArtifactNotFound from error
            file.seek(offset)
            return cast(ObjectReader, file)

    def delete(self, digest: Digest) -> None:
        with storage_errors():
            self._storage.delete(str(digest))

    def partial(self, name: str) -> Partial:
        with storage_errors():
            return _Partial(self, _incoming() / f"{name}{PARTIAL}")

    def digests(self, after: str = "") -> Iterator[Digest]:
        with storage_errors():
            names = sorted(self._storage.listdir("")[1])
        yield from digests_among(names, after)

    def sweep(self, before: datetime, live: Container[str] = ()) -> int:
        with storage_errors():
            return remove_files(_incoming(), before, live)

    def check(self) -> None:
        """Nothing that is cheap tells: a probe must not cost a round trip to a vendor every few seconds."""


class _StagedCopy(Staged):
    def __init__(self, store: GenericStore, storage: Storage) -> None:
        self._file = tempfile.TemporaryFile(dir=_incoming())  # noqa: SIM115  (closed by `discard`)
        self._store = store
        self._storage = storage

    def write(self, block: bytes) -> None:
        with storage_errors():
            self._file.write(block)

    def place(self, digest: Digest, *, replace: bool = False) -> bool:
        if not replace and self._store.stat(digest) is not None:
            return False
        with storage_errors():
            self._file.seek(0)
            key = self._storage.save(str(digest), File(self._file, name=str(digest)))
            if key == str(digest):
                return True
            # A storage that never overwrites renamed our copy: a twin was first, or a corrupt one is in the way.
            self._storage.delete(key)
        if replace:
            raise StorageError("The storage does not let a corrupt artifact be replaced.")
        return False

    def discard(self) -> None:
        with storage_errors():
            self._file.close()


class _Partial(PartialFile):
    def __init__(self, store: GenericStore, path: Path) -> None:
        super().__init__(path)
        self._store = store

    def stage(self, digest: Digest | None, file_name: str) -> Staged:
        return self._store.stage(digest, self.size(), file_name)


def _incoming() -> Path:
    folder: Path = settings.CAS_DATA_DIR / "incoming"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
