"""Any Django storage, and the ways in which some differ."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.core.files import File
from django.core.files.storage import InMemoryStorage
from pytest_django import Settings

from artifacts.exceptions import ArtifactNotFound, StorageError
from artifacts.models import Location
from artifacts.storage import Store, open_store
from artifacts.storage.backends import backend_names, find_backend
from artifacts.storage.probe import probe
from tests.factories import digest_of

CONTENT = b"some content"
DIGEST = digest_of(CONTENT)


class VendorError(Exception):
    """What a vendor's library raises for whatever went wrong."""


class VendorStorage(InMemoryStorage):
    """Raises its vendor's error for a missing object, as the one for Azure does."""

    def size(self, name: str) -> int:
        if not self.exists(name):
            raise VendorError("404")
        return super().size(name)


class BrokenStorage(InMemoryStorage):
    """Has the object, and cannot say its size."""

    def exists(self, name: str) -> bool:
        return True

    def size(self, name: str) -> int:
        raise VendorError("500")


class TwinStorage(InMemoryStorage):
    """Another upload of the same digest is placed while ours is on its way; renames rather than overwrites."""

    def save(self, name: str | None, content: Any, max_length: int | None = None) -> str:
        super().save(name, File(content.file, name), max_length)
        content.file.seek(0)
        return super().save(name, content, max_length)


@pytest.fixture(autouse=True)
def data_dir(settings: Settings, tmp_path: Path) -> Path:
    settings.CAS_DATA_DIR = tmp_path
    return tmp_path


def store_of(kind: str, settings: Settings) -> Store:
    settings.CAS_STORAGE_BACKENDS = {kind: f"{__name__}.{kind}"}
    return find_backend(kind).make_store({})


def put(store: Store, *, replace: bool = False) -> bool:
    with store.stage() as staged:
        staged.write(CONTENT[:4])
        staged.write(CONTENT[4:])
        return staged.place(DIGEST, replace=replace)


def test_configured_storage_is_a_backend(settings: Settings) -> None:
    settings.CAS_STORAGE_BACKENDS = {"MEMORY": "django.core.files.storage.InMemoryStorage"}
    assert "MEMORY" in backend_names()
    store = open_store(Location(name="a", backend="MEMORY"))
    assert put(store) is True
    assert put(store) is False
    assert store.size(DIGEST) == 12
    with closing(store.open(DIGEST)) as file:
        assert file.read(100) == CONTENT
    assert store.modified_at(DIGEST).year >= 2026
    store.check()
    store.delete(DIGEST)
    assert store.size(DIGEST) is None
    with pytest.raises(ArtifactNotFound):
        store.open(DIGEST)
    probe(store)


def test_upload_is_staged_in_a_file_that_has_no_name(settings: Settings, data_dir: Path) -> None:
    store = store_of("VendorStorage", settings)
    with store.stage() as staged:
        staged.write(CONTENT)
        assert list((data_dir / "incoming").iterdir()) == []
    assert store.size(DIGEST) is None


def test_error_of_a_vendor_for_a_missing_object_is_none(settings: Settings) -> None:
    store = store_of("VendorStorage", settings)
    assert store.size(DIGEST) is None
    assert put(store) is True
    assert store.size(DIGEST) == 12


def test_error_of_a_vendor_for_an_object_is_a_storage_error(settings: Settings) -> None:
    with pytest.raises(StorageError) as caught:
        store_of("BrokenStorage", settings).size(DIGEST)
    assert isinstance(caught.value.__cause__, VendorError)


def test_copy_that_was_renamed_because_a_twin_was_first_is_removed(settings: Settings) -> None:
    store = store_of("TwinStorage", settings)
    assert put(store) is False
    folders, files = store._storage.listdir("")  # type: ignore[attr-defined]
    assert (folders, files) == ([], [str(DIGEST)])


def test_storage_that_never_overwrites_cannot_heal(settings: Settings) -> None:
    settings.CAS_STORAGE_BACKENDS = {"MEMORY": "django.core.files.storage.InMemoryStorage"}
    store = find_backend("MEMORY").make_store({})
    put(store)
    with pytest.raises(StorageError, match="corrupt"):
        put(store, replace=True)
    assert store._storage.listdir("") == ([], [str(DIGEST)])  # type: ignore[attr-defined]
