"""The folder: order of syncs, twins, failures, and that nothing stays behind."""

import errno
import gc
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.core.files.storage import FileSystemStorage

from artifacts.digests import Digest
from artifacts.exceptions import ArtifactNotFound, StorageError, StorageFull
from artifacts.storage import ObjectReader
from artifacts.storage.filesystem import INCOMING, FileSystemStore
from artifacts.storage.probe import probe
from tests.factories import digest_of

CONTENT = b"some content"
DIGEST = digest_of(CONTENT)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def store(folder: Path) -> FileSystemStore:
    return FileSystemStore(FileSystemStorage(location=folder))


def path_in(folder: Path) -> Path:
    return folder / "sha256" / DIGEST.hex[:2] / DIGEST.hex


def put(store: FileSystemStore, content: bytes = CONTENT, *, replace: bool = False) -> bool:
    with store.stage() as staged:
        staged.write(content)
        return staged.place(DIGEST, replace=replace)


def incoming(folder: Path) -> list[Path]:
    return list((folder / INCOMING).glob("*"))


def test_what_was_placed_can_be_read(store: FileSystemStore, folder: Path) -> None:
    assert store.stat(DIGEST) is None
    assert put(store) is True
    assert (found := store.stat(DIGEST)) is not None
    assert found.size_bytes == len(CONTENT)
    with closing(store.open(DIGEST)) as file:
        assert file.read(1000) == CONTENT
    assert datetime.now(UTC) - found.modified_at < timedelta(minutes=1)
    assert incoming(folder) == []


def test_file_is_synced_before_it_is_linked_and_folders_after(
    store: FileSystemStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, link = os.fsync, Path.hardlink_to

    def note_fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        steps.append("file" if path.is_file() else str(path.relative_to(folder)))
        fsync(descriptor)

    def note_link(path: Path, target: Path) -> None:
        steps.append("link")
        link(path, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "hardlink_to", note_link)
    put(store)
    shard = f"sha256/{DIGEST.hex[:2]}"
    assert steps == ["file", ".", "sha256", "link", shard]


def test_folder_that_another_upload_made_and_could_not_sync_is_synced(
    store: FileSystemStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def fail_for_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail_for_folders)
    with pytest.raises(StorageError):
        put(store)
    synced: list[Path] = []

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    put(store)
    assert {folder, folder / "sha256", path_in(folder).parent} <= set(synced)


def test_replacing_syncs_the_file_before_the_rename_and_the_folder_after(
    store: FileSystemStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, b"rotten")
    steps: list[str] = []
    rename = Path.replace

    def note_rename(path: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(path, target)

    monkeypatch.setattr(
        os, "fsync", lambda descriptor: steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
    )
    monkeypatch.setattr(Path, "replace", note_rename)
    put(store, replace=True)
    assert (steps[0], steps[-2:]) == ("file", ["rename", "folder"])


def test_second_one_is_told_that_it_is_there(store: FileSystemStore, folder: Path) -> None:
    put(store)
    inode = path_in(folder).stat().st_ino
    assert put(store) is False
    assert path_in(folder).stat().st_ino == inode
    assert incoming(folder) == []


def test_of_many_twins_one_is_placed(store: FileSystemStore, folder: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        placed = list(pool.map(lambda _: put(store), range(64)))
    assert placed.count(True) == 1
    assert path_in(folder).read_bytes() == CONTENT
    assert incoming(folder) == []


def test_replacing_swaps_the_bytes_at_once(store: FileSystemStore, folder: Path) -> None:
    put(store, b"rotten")
    with closing(store.open(DIGEST)) as before:
        assert put(store, replace=True) is True
        assert before.read(1000) == b"rotten"  # whoever was reading goes on
    assert path_in(folder).read_bytes() == CONTENT
    assert incoming(folder) == []


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_file_system_without_hard_links_gets_a_rename(
    store: FileSystemStore, folder: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "hardlink_to", fail_with(number))
    assert put(store) is True
    assert path_in(folder).read_bytes() == CONTENT
    assert incoming(folder) == []


def test_file_system_without_hard_links_tells_what_is_there_too(
    store: FileSystemStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "hardlink_to", fail_with(errno.EPERM))
    put(store)
    inode = path_in(folder).stat().st_ino
    assert put(store) is False
    assert path_in(folder).stat().st_ino == inode
    assert incoming(folder) == []


def fail_with(number: int) -> Callable[..., None]:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, StorageError), (errno.EACCES, StorageError)],
)
@pytest.mark.parametrize("step", ["os.write", "os.fsync", "pathlib.Path.hardlink_to", "pathlib.Path.mkdir"])
def test_failure_of_any_step_leaves_nothing(
    store: FileSystemStore,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    number: int,
    error: type[Exception],
) -> None:
    with monkeypatch.context() as disk:
        disk.setattr(step, fail_with(number))
        with pytest.raises(error):
            put(store)
    assert incoming(folder) == []
    assert store.stat(DIGEST) is None
    assert put(store) is True


def test_upload_that_is_given_up_leaves_nothing(store: FileSystemStore, folder: Path) -> None:
    with store.stage() as staged:
        staged.write(CONTENT)
        assert len(incoming(folder)) == 1
    assert incoming(folder) == []


def test_block_that_the_system_takes_in_parts_is_written_whole(
    store: FileSystemStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:5]))
    put(store)
    assert path_in(folder).read_bytes() == CONTENT


def test_missing_folder_is_an_error_and_is_not_made(store: FileSystemStore, folder: Path) -> None:
    folder.rmdir()
    for use in (store.stage, store.check, lambda: store.stat(DIGEST)):
        with pytest.raises(StorageError):
            use()
    assert not folder.exists()


def test_what_is_not_there_is_not_found(store: FileSystemStore) -> None:
    with pytest.raises(ArtifactNotFound):
        store.open(DIGEST)
    with pytest.raises(ArtifactNotFound):
        store.open(DIGEST)
    store.delete(DIGEST)


def test_deleted_artifact_is_gone(store: FileSystemStore) -> None:
    put(store)
    store.delete(DIGEST)
    assert store.stat(DIGEST) is None


def test_what_others_left_among_the_artifacts_is_passed_over(store: FileSystemStore, folder: Path) -> None:
    put(store)
    for name in (".DS_Store", "00", f"{DIGEST.hex[:2]}/.nfs0001"):
        (folder / "sha256" / name).touch()
    (folder / "sha256" / "lost+found").mkdir()
    assert list(store.digests()) == [DIGEST]


def test_folder_among_the_leftovers_keeps_none_of_them(store: FileSystemStore, folder: Path) -> None:
    put(store)
    stray, left = folder / INCOMING / "a", folder / INCOMING / "b"
    stray.mkdir()
    left.touch()
    assert store.sweep(datetime.now(UTC) + timedelta(minutes=1)) == 1
    assert (stray.exists(), left.exists()) == (True, False)


def test_probe_writes_reads_and_leaves_nothing(store: FileSystemStore, folder: Path) -> None:
    probe(store)
    assert [path for path in folder.rglob("*") if path.is_file()] == []


def test_probe_names_what_came_back_different(store: FileSystemStore, monkeypatch: pytest.MonkeyPatch) -> None:
    original = store.path_of

    class Rotting(FileSystemStore):
        def open(self, digest: Digest, offset: int = 0) -> ObjectReader:
            original(digest).write_bytes(b"rot")
            return super().open(digest, offset)

    store.__class__ = Rotting
    with pytest.raises(StorageError, match="not what was written"):
        probe(store)


def test_probe_names_what_was_not_deleted(store: FileSystemStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "delete", lambda digest: None)
    with pytest.raises(StorageError, match="did not delete"):
        probe(store)


def test_folder_that_goes_during_an_upload_is_an_error_and_is_not_made(store: FileSystemStore, folder: Path) -> None:
    with store.stage() as staged:
        staged.write(CONTENT)
        folder.rename(folder.with_name("unmounted"))
        with pytest.raises(StorageError):
            staged.place(DIGEST)
    assert not folder.exists()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_root_that_cannot_be_looked_at_is_a_storage_error(
    store: FileSystemStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    for use in (store.check, store.stage, lambda: store.stat(DIGEST)):
        with monkeypatch.context() as disk:
            disk.setattr("pathlib.Path.stat", fail_with(number))
            with pytest.raises(StorageError):
                use()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_artifact_that_cannot_be_reached_is_a_storage_error_and_not_absent(
    store: FileSystemStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    put(store)
    monkeypatch.setattr("builtins.open", fail_with(number))
    monkeypatch.setattr("pathlib.Path.unlink", fail_with(number))
    for use in (store.open, store.delete):
        with pytest.raises(StorageError):
            use(DIGEST)


def test_staging_that_fails_leaves_nothing(
    store: FileSystemStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("artifacts.storage.filesystem._create", fail_with(errno.ENOSPC))
    with pytest.raises(StorageFull):
        store.stage()
    assert incoming(folder) == []


def test_no_descriptor_is_left_open(store: FileSystemStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store)
    gc.collect()  # what earlier tests left must not go in between
    before = open_descriptors()
    put(store, replace=True)
    monkeypatch.setattr(os, "fsync", fail_with(errno.EIO))
    with pytest.raises(StorageError):
        put(store)
    assert open_descriptors() <= before


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_close_that_fails_leaves_nothing(store: FileSystemStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a network file system, which tells of a failed write when the file is closed."""
    close = os.close

    def fail_for_files(descriptor: int) -> None:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        close(descriptor)
        if is_file:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    staged = store.stage()
    staged.write(CONTENT)
    with monkeypatch.context() as disk:
        disk.setattr(os, "close", fail_for_files)
        with pytest.raises(StorageError):
            staged.discard()
    assert incoming(folder) == []


def test_pieces_that_replace_what_is_there_stay_until_they_are_given_up(store: FileSystemStore, folder: Path) -> None:
    """Whoever is killed before the result is kept finishes once more."""
    put(store, b"damaged")
    partial = store.partial("upload")
    partial.append(0, CONTENT)
    for _ in range(2):
        with partial.stage(DIGEST, "") as staged:
            assert staged.place(DIGEST, replace=True)
        assert path_in(folder).read_bytes() == CONTENT
        assert partial.size() == len(CONTENT)
    partial.discard()
    assert incoming(folder) == []
