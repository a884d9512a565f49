"""Any Django storage, and the ways in which some differ."""

import errno
import gc
import os
import shutil
import tempfile
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage
from django.test import Client
from pytest_django import Settings

from artifacts.exceptions import ArtifactNotFound, StorageError, StorageFull
from artifacts.models import Location
from artifacts.storage import Store, open_store
from artifacts.storage.backends import backend_names, find_backend
from artifacts.storage.probe import probe
from artifacts.tokens import DOWNLOADER
from tests.factories import bearer, digest_of

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

    def get_modified_time(self, name: str) -> datetime:
        if not self.exists(name):
            raise VendorError("404")
        return super().get_modified_time(name)


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


class FullStorage(InMemoryStorage):
    """Has room for half of what it is given."""

    def _save(self, name: str, content: Any) -> str:
        content.read(6)
        raise OSError(errno.ENOSPC, "No space left on device")


class MovedStorage(InMemoryStorage):
    """A vendor that has moved: nothing of it answers."""

    def _fail(self, *args: Any, **kwargs: Any) -> Any:
        raise VendorError("gone")

    exists = size = _open = _save = delete = get_modified_time = _fail


@pytest.fixture(autouse=True)
def data_dir(settings: Settings, tmp_path: Path) -> Path:
    shutil.copytree(settings.CAS_DATA_DIR / "keys", tmp_path / "keys")
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
    assert (found := store.stat(DIGEST)) is not None
    assert found.size_bytes == 12
    with closing(store.open(DIGEST)) as file:
        assert file.read(100) == CONTENT
    assert found.modified_at.year >= 2026
    store.check()
    store.delete(DIGEST)
    assert store.stat(DIGEST) is None
    with pytest.raises(ArtifactNotFound):
        store.open(DIGEST)
    probe(store)


def test_upload_is_staged_in_a_file_that_has_no_name(settings: Settings, data_dir: Path) -> None:
    store = store_of("VendorStorage", settings)
    with store.stage() as staged:
        staged.write(CONTENT)
        assert list((data_dir / "incoming").iterdir()) == []
    assert store.stat(DIGEST) is None


def test_error_of_a_vendor_for_a_missing_object_is_none(settings: Settings) -> None:
    store = store_of("VendorStorage", settings)
    assert store.stat(DIGEST) is None
    assert put(store) is True
    assert (found := store.stat(DIGEST)) is not None
    assert found.size_bytes == 12


def test_error_of_a_vendor_for_an_object_is_a_storage_error(settings: Settings) -> None:
    with pytest.raises(StorageError) as caught:
        store_of("BrokenStorage", settings).stat(DIGEST)
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


def test_vendor_that_does_not_answer_is_a_storage_error_for_every_use(settings: Settings) -> None:
    store = store_of("MovedStorage", settings)
    for use in (store.stat, store.open, store.delete):
        with pytest.raises(StorageError) as caught:
            use(DIGEST)
        assert isinstance(caught.value.__cause__, VendorError)
    for replace in (True, False):
        with pytest.raises(StorageError):
            put(store, replace=replace)


def test_full_storage_says_so(settings: Settings, data_dir: Path) -> None:
    store = store_of("FullStorage", settings)
    with pytest.raises(StorageFull):
        put(store)
    assert store.stat(DIGEST) is None
    assert list((data_dir / "incoming").iterdir()) == []


def test_disk_too_full_to_stage_on_says_so(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_of("VendorStorage", settings)
    with Path("/dev/full").open("w+b", buffering=0) as device:  # each write to it fails for want of room
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda **kwargs: device)
        with pytest.raises(StorageFull):
            put(store)
    assert store.stat(DIGEST) is None


def test_data_folder_that_cannot_hold_uploads_is_a_storage_error(settings: Settings, data_dir: Path) -> None:
    (data_dir / "incoming").touch()
    with pytest.raises(StorageError):
        store_of("VendorStorage", settings).stage()


def test_no_descriptor_is_left_open(settings: Settings) -> None:
    good, full = store_of("VendorStorage", settings), store_of("FullStorage", settings)
    put(good)
    gc.collect()  # what earlier tests left must not go in between
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    put(good)
    with pytest.raises(StorageFull):
        put(full)
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208


@pytest.mark.django_db
def test_transfers_through_a_configured_storage(client: Client, settings: Settings, data_dir: Path) -> None:
    settings.CAS_STORAGE_BACKENDS = {"MEMORY": "django.core.files.storage.InMemoryStorage"}
    location = Location(name="memory", backend="MEMORY", options={"base_url": f"/{data_dir.name}/"})
    location.full_clean()
    location.save()
    here = {"backend": "MEMORY", "secret-id": "memory"}
    url = f"/artifacts/{DIGEST}"
    assert client.put(url, b"other", headers=bearer(**here)).json()["code"] == "digest_mismatch"
    assert client.put(f"{url}?filename=a", CONTENT, headers=bearer(**here)).status_code == 201
    assert client.put(url, CONTENT, headers=bearer(**here)).json()["skipped"] is True
    reader = bearer(DOWNLOADER, **here)
    assert b"".join(client.get(url, headers=reader)) == CONTENT
    assert b"".join(client.get(url, headers={**reader, "Range": "bytes=-4"})) == CONTENT[-4:]
    assert client.get(f"{url}/describe", headers=reader).json()["size_bytes"] == 12


@pytest.mark.django_db
def test_corrupt_object_of_a_storage_that_never_overwrites_stays_and_is_told(
    client: Client, settings: Settings, data_dir: Path
) -> None:
    settings.CAS_STORAGE_BACKENDS = {"MEMORY": "django.core.files.storage.InMemoryStorage"}
    location = Location.objects.create(name="m", backend="MEMORY", options={"base_url": f"/{data_dir.name}/"})
    storage = open_store(location)._storage  # type: ignore[attr-defined]
    storage.save(str(DIGEST), ContentFile(CONTENT[::-1]))
    here = {"backend": "MEMORY", "secret-id": "m"}
    url = f"/artifacts/{DIGEST}"
    assert client.get(url, headers=bearer(DOWNLOADER, **here)).json()["code"] == "artifact_corrupt"
    assert client.put(url, CONTENT, headers=bearer(**here)).json()["code"] == "storage_error"
    assert storage.listdir("") == ([], [str(DIGEST)])
    assert client.get(url, headers=bearer(DOWNLOADER, **here)).json()["code"] == "artifact_corrupt"
