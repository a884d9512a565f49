"""Any Django storage: the upload is staged in a local temp file, and saved once it is verified."""

import tempfile
from datetime import datetime
from typing import BinaryIO, cast

from django.conf import settings
from django.core.files import File
from django.core.files.storage import Storage

from artifacts.digests import Digest
from artifacts.exceptions import ArtifactNotFound, StorageError
from artifacts.storage.base import Staged, Store
from artifacts.storage.errors import storage_errors


class GenericStore(Store):
    """Artifacts under the key `sha256:<hex>`, as Chainloop's object-store backends keep theirs."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def size(self, digest: Digest) -> int | None:
        with storage_errors():
            try:
                return self._storage.size(str(digest))
            except FileNotFoundError:
                return None
            except Exception:
                # Some storages raise their vendor's error for a missing object.
                if self._storage.exists(str(digest)):
                    raise
                return None

    def modified_at(self, digest: Digest) -> datetime:
        with storage_errors():
            try:
                return self._storage.get_modified_time(str(digest))
            except Exception as error:  # as above
                if self._storage.exists(str(digest)):
                    raise
                raise ArtifactNotFound from error

    def stage(self) -> Staged:
        with storage_errors():
            return _StagedCopy(self, self._storage)

    def open(self, digest: Digest) -> BinaryIO:
        with storage_errors():
            try:
                return cast(BinaryIO, self._storage.open(str(digest), "rb"))
            except FileNotFoundError as error:
                raise ArtifactNotFound from error

    def delete(self, digest: Digest) -> None:
        with storage_errors():
            self._storage.delete(str(digest))

    def check(self) -> None:
        """Nothing that is cheap tells: a probe must not cost a round trip to a vendor every few seconds."""


class _StagedCopy(Staged):
    def __init__(self, store: GenericStore, storage: Storage) -> None:
        folder = settings.CAS_DATA_DIR / "incoming"
        folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (closed by `discard`)
        self._store = store
        self._storage = storage

    def write(self, block: bytes) -> None:
        with storage_errors():
            self._file.write(block)

    def place(self, digest: Digest, *, replace: bool = False) -> bool:
        if not replace and self._store.size(digest) is not None:
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
