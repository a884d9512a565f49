"""Every system call of an upload fails once, each in turn: what the client is told, what can be seen, what heals.

`pytest -s tests/artifacts/test_hostile_disk.py` prints the table of docs/hostile-input.md.
"""

import errno
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as project_settings
from django.dispatch import Signal
from django.test import Client
from django.utils import timezone

from artifacts import services
from artifacts.block_hashes import HASHED_BLOCK
from artifacts.digests import BLOCK_SIZE, Digest
from artifacts.exceptions import StorageError, StorageFull
from artifacts.models import Artifact, Location
from artifacts.rate_limit import RateLimit
from artifacts.scrubbing import Watcher, scrub
from artifacts.storage import open_store, write_back
from artifacts.storage.filesystem import FileSystemStore
from artifacts.tokens import DOWNLOADER
from artifacts.tus import CONTENT_TYPE
from tests.artifacts.test_errors import assert_problem
from tests.factories import bearer, digest_of, stored_at
from tests.faults import SHORT, FailingDisk, Fault
from tests.servers import wait_until

pytestmark = pytest.mark.django_db

CONTENT = b"0123456789abcdef" * (BLOCK_SIZE // 16) + b"and a second block"
DIGEST = digest_of(CONTENT)
FULL, BROKEN = Fault(errno.ENOSPC), Fault(errno.EIO)
FAULTS = [FULL, BROKEN, Fault(errno.EIO, is_done=True), SHORT]
MATCHING = "all, matching"

Sent = list[tuple[Signal, dict[str, Any]]]


@dataclass
class Uploader:
    """A client of one location."""

    client: Client
    location: Location
    address: str = ""  # of its resumable upload
    tokens: dict[str, dict[str, str]] = field(default_factory=dict)  # by role

    @property
    def root(self) -> Path:
        return Path(self.location.options["location"])

    def send(self, method: str, path: str, body: bytes = b"", role: str = "uploader", **headers: str) -> Any:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if role not in self.tokens:
            self.tokens[role] = bearer(role, **{"secret-id": self.location.name})
        return self.client.generic(method, path, body, CONTENT_TYPE, headers={**self.tokens[role], **fields})

    def get(self) -> Any:
        return self.send("GET", f"/artifacts/{DIGEST}", role=DOWNLOADER)

    def put(self) -> Any:
        return self.send("PUT", f"/artifacts/{DIGEST}", CONTENT)

    def post(self) -> Any:
        return self.send("POST", "/artifacts/", CONTENT)

    def tus(self) -> Any:
        """All of a resumable upload: begun, or gone on with where it stands; the answer that decides."""
        version: dict[str, Any] = {"Tus_Resumable": "1.0.0"}
        offset = 0
        if self.address:
            offset = int(self.send("HEAD", self.address, **version)["Upload-Offset"])
        else:
            answer = self.send("POST", "/uploads/", Upload_Length=str(len(CONTENT)), **version)
            assert answer.status_code == 201
            self.address = answer["Location"]
        for piece in (CONTENT[offset:BLOCK_SIZE], CONTENT[max(offset, BLOCK_SIZE) :]):
            if piece:
                answer = self.send("PATCH", self.address, piece, Upload_Offset=str(offset), **version)
                if answer.status_code != 204:
                    return answer
                offset += len(piece)
        # What has all its bytes is finished by whoever asks how it stands.
        return answer if offset < len(CONTENT) or piece else self.send("HEAD", self.address, **version)


def prepare_nothing(uploader: Uploader) -> None:
    """A location that holds nothing, not even folders."""


def prepare_corrupt(uploader: Uploader) -> None:
    """An artifact that is plainly corrupt, so that the next upload replaces it."""
    assert uploader.put().status_code == 201
    stored_at(uploader.root, CONTENT).write_bytes(CONTENT[:-1])


OPERATIONS: dict[str, tuple[Callable[[Uploader], None], Callable[[Uploader], Any]]] = {
    "PUT": (prepare_nothing, Uploader.put),
    "POST": (prepare_nothing, Uploader.post),
    "PUT over a corrupt one": (prepare_corrupt, Uploader.put),
    "tus": (prepare_nothing, Uploader.tus),
}


@pytest.fixture
def new_uploader(client: Client, db: None, tmp_path: Path) -> Callable[[], Uploader]:
    """Makes clients of a location of their own, whose store knows no folder yet."""

    def make() -> Uploader:
        name = f"disk-{Location.objects.count()}"
        folder = tmp_path / name
        folder.mkdir()
        location = Location.objects.create(name=name, backend="FILESYSTEM", options={"location": str(folder)})
        return Uploader(client, location)

    return make


def what_is_visible(uploader: Uploader) -> str:
    """What a downloader gets now; never anything but the bytes that were uploaded."""
    answer = uploader.get()
    if answer.status_code != 200:
        code = answer.json()["code"]
        return "nothing" if code == "artifact_not_found" else f"{answer.status_code} {code}"
    assert b"".join(answer) == CONTENT
    return MATCHING


def temp_files(uploader: Uploader) -> list[Path]:
    return list((uploader.root / ".incoming").glob("*"))


def open_files(folder: Path) -> list[str]:
    paths = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]  # noqa: PTH115
    return [path for path in paths if path.startswith(str(folder))]


def told(answer: Any) -> str:
    code = answer.json()["code"] if answer.get("Content-Type") == "application/problem+json" else "done"
    return f"{answer.status_code} {code}".removesuffix(" done")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a failed call came to, as the table has it."""

    answer: str
    visible: str
    temp_files: int
    retry: str


def fail_each_call(
    operation: str, fault: Fault, new_uploader: Callable[[], Uploader], sent: Sent
) -> list[tuple[str, Outcome]]:
    """Run the operation once for each of its calls, that one failing."""
    prepare, upload = OPERATIONS[operation]
    outcomes: list[tuple[str, Outcome]] = []
    for number in range(1000):
        uploader = new_uploader()
        prepare(uploader)
        sent.clear()
        disk = FailingDisk(uploader.root, number, fault)
        with disk.mounted():
            answer = upload(uploader)
        if not disk.has_failed:
            assert answer.status_code in {200, 201, 204}
            return outcomes
        call = disk.failed_call
        kept = len(temp_files(uploader))
        assert open_files(uploader.root) == [], call
        assert len(sent) == (1 if answer.status_code < 300 else 0), call
        visible = what_is_visible(uploader)

        if answer.status_code < 300:
            assert visible == MATCHING, call
        else:
            expected = (507, "storage_full") if fault.number == errno.ENOSPC else (502, "storage_error")
            assert_problem(answer, *expected)
            assert str(uploader.root) not in answer.content.decode()
        assert visible in {MATCHING, "502 artifact_corrupt" if prepare is prepare_corrupt else "nothing"}, call

        again = upload(uploader)
        assert again.status_code in {200, 201, 204}, call
        assert what_is_visible(uploader) == MATCHING, call
        open_store(uploader.location).sweep(timezone.now() + timedelta(hours=1))
        assert temp_files(uploader) == [], call
        if fault != SHORT or call.startswith("write"):
            outcomes.append((call, Outcome(told(answer), visible, kept, told(again))))
    raise AssertionError("the upload never ends")


def table(operation: str, fault: Fault, outcomes: list[tuple[str, Outcome]]) -> list[str]:
    """A row for each run of calls whose failure comes to the same."""
    rows = []
    for outcome, calls in groupby(outcomes, key=itemgetter(1)):
        names = ", ".join(call for call, _ in calls)
        rows.append(
            f"| {operation} | {fault} | {names} | {outcome.answer} | {outcome.visible} | {outcome.temp_files} "
            f"| {outcome.retry} |"
        )
    return rows


@pytest.mark.parametrize("fault", FAULTS, ids=str)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_call_that_fails_is_told_and_costs_nothing_but_that_upload(
    operation: str,
    fault: Fault,
    new_uploader: Callable[[], Uploader],
    sent_signals: Sent,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = table(operation, fault, fail_each_call(operation, fault, new_uploader, sent_signals))
    print("", *rows, sep="\n")  # noqa: T201
    documented = (project_settings.BASE_DIR / "docs" / "hostile-input.md").read_text().splitlines()
    assert [row for row in rows if row not in documented] == []


def prepare_removed(uploader: Uploader) -> None:
    """An artifact whose file somebody removed, and nobody has noticed."""
    assert uploader.put().status_code == 201
    Artifact.objects.update(created_at=timezone.now() - timedelta(days=1))
    stored_at(uploader.root, CONTENT).unlink()


def prepare_missing(uploader: Uploader) -> None:
    """The same, noticed."""
    prepare_removed(uploader)
    Artifact.objects.update(missing_at=timezone.now())


def prepare_old_corrupt(uploader: Uploader) -> None:
    prepare_corrupt(uploader)
    Artifact.objects.update(created_at=timezone.now() - timedelta(days=1))


def break_off(new_uploader: Callable[[], Uploader], prepare: Callable[[Uploader], None]) -> Uploader:
    """A client whose upload has its place, but was not synced there."""
    uploader = new_uploader()
    prepare(uploader)
    whole = FailingDisk(uploader.root)
    with whole.mounted():
        uploader.put()
    sync = len(whole.calls) - 1 - whole.calls[::-1].index("fsync (shard folder)")

    uploader = new_uploader()
    prepare(uploader)
    with FailingDisk(uploader.root, sync, BROKEN).mounted():
        assert uploader.put().status_code == 502
    assert what_is_visible(uploader) == MATCHING
    return uploader


@pytest.mark.parametrize("prepare", [prepare_nothing, prepare_removed, prepare_missing, prepare_old_corrupt])
@pytest.mark.parametrize("upload", [Uploader.put, Uploader.post, Uploader.tus])
def test_what_an_upload_left_unsynced_is_synced_before_another_is_told_that_it_is_there(
    upload: Callable[[Uploader], Any], prepare: Callable[[Uploader], None], new_uploader: Callable[[], Uploader]
) -> None:
    uploader = break_off(new_uploader, prepare)
    retry = FailingDisk(uploader.root)
    with retry.mounted():
        assert upload(uploader).status_code in {200, 204}
    assert "fsync (shard folder)" in retry.calls
    assert not Artifact.objects.filter(location=uploader.location, missing_at__isnull=False).exists()


def examine(uploader: Uploader) -> None:
    scrub(uploader.location, limit=RateLimit(0), watcher=Watcher())


@pytest.mark.parametrize("look", [examine, what_is_visible])
def test_what_an_upload_left_unsynced_is_synced_before_it_is_labelled(
    look: Callable[[Uploader], object], new_uploader: Callable[[], Uploader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "HASHED_BLOCK", BLOCK_SIZE)  # what is larger is labelled by a download, too
    uploader = break_off(new_uploader, prepare_nothing)
    Artifact.objects.all().delete()
    disk = FailingDisk(uploader.root)
    with disk.mounted():
        look(uploader)
    assert Artifact.objects.get().location == uploader.location
    assert "fsync (shard folder)" in disk.calls


def test_download_of_what_cannot_be_made_durable_goes_on_without_a_label(
    new_uploader: Callable[[], Uploader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "HASHED_BLOCK", BLOCK_SIZE)
    uploader = new_uploader()
    uploader.put()
    Artifact.objects.all().delete()

    def fail(store: FileSystemStore, digest: Digest) -> None:
        raise StorageError

    monkeypatch.setattr(FileSystemStore, "settle", fail)
    assert what_is_visible(uploader) == MATCHING
    assert not Artifact.objects.exists()


def test_what_cannot_be_made_durable_is_not_acknowledged_either(new_uploader: Callable[[], Uploader]) -> None:
    failed = []
    for number in range(100):
        uploader = new_uploader()
        stored_at(uploader.root, CONTENT).parent.mkdir(parents=True)
        stored_at(uploader.root, CONTENT).write_bytes(CONTENT)  # by whom, nobody knows
        disk = FailingDisk(uploader.root, number, BROKEN)
        with disk.mounted():
            answer = uploader.put()
        if not disk.has_failed:
            break
        failed.append(disk.failed_call)
        if "mkdir" not in disk.failed_call:  # that the folders are there is seen
            assert_problem(answer, 502, "storage_error")
    assert {"fsync 1 (artifact)", "fsync 2 (root)", "fsync 3 (sha256 folder)", "fsync 4 (shard folder)"} <= set(failed)


@pytest.mark.parametrize(("number", "error"), [(errno.EIO, StorageError), (errno.ENOSPC, StorageFull)])
@pytest.mark.parametrize("is_last", [True, False])
def test_sync_that_fails_while_an_upload_still_arrives_fails_that_upload(
    new_uploader: Callable[[], Uploader],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    error: type[Exception],
    is_last: bool,
) -> None:
    """The next fsync would not tell again (fsync(2) reports a failed write-back once)."""

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(write_back, "INTERVAL", BLOCK_SIZE)
    monkeypatch.setattr(os, "fdatasync", fail)
    uploader = new_uploader()
    store = open_store(uploader.location)
    digest = digest_of(CONTENT[:BLOCK_SIZE])
    with store.stage() as staged:
        staged.write(CONTENT[:BLOCK_SIZE])
        wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "write-back"])
        with pytest.raises(error):
            staged.place(digest) if is_last else staged.write(CONTENT[BLOCK_SIZE:])
    assert temp_files(uploader) == []
    assert store.stat(digest) is None


@pytest.mark.parametrize("is_whole", [True, False])
def test_upload_for_whose_syncs_there_is_no_thread_goes_on_without(
    new_uploader: Callable[[], Uploader], monkeypatch: pytest.MonkeyPatch, is_whole: bool
) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(write_back, "INTERVAL", BLOCK_SIZE)
    uploader = new_uploader()
    store = open_store(uploader.location)
    monkeypatch.setattr(threading.Thread, "start", fail)
    with store.stage() as staged:
        for _ in range(3):
            staged.write(CONTENT[:BLOCK_SIZE])
        if is_whole:
            assert staged.place(digest_of(CONTENT[:BLOCK_SIZE] * 3))
    assert open_files(uploader.root) == []
    assert temp_files(uploader) == []


LARGE = os.urandom(3 * HASHED_BLOCK)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOSPC])
@pytest.mark.parametrize("content", [CONTENT[:1000], CONTENT, LARGE], ids=["small", "two-blocks", "hashed-blocks"])
@pytest.mark.parametrize("span", ["", "bytes=10-19", "bytes=-5"])
def test_disk_that_fails_under_a_download_never_completes_it(
    new_uploader: Callable[[], Uploader], sent_signals: Sent, content: bytes, number: int, span: str
) -> None:
    uploader = new_uploader()
    uploader.send("PUT", f"/artifacts/{digest_of(content)}", content)
    for at in range(100):
        sent_signals.clear()
        disk = FailingDisk(uploader.root, at, Fault(number))
        received = b""
        with disk.mounted():
            headers: dict[str, Any] = {"Range": span} if span else {}
            answer = uploader.send("GET", f"/artifacts/{digest_of(content)}", role=DOWNLOADER, **headers)
            if answer.status_code in {200, 206}:
                with suppress(StorageError, StorageFull):  # the web server breaks the connection off
                    for block in answer:
                        received += block
        if not disk.has_failed:
            assert len(received) == int(answer["Content-Length"])
            break
        assert sent_signals == []
        if answer.status_code in {200, 206}:
            assert len(received) < int(answer["Content-Length"])
        else:
            assert answer.status_code in {502, 507}
    assert at >= 2
    assert not Artifact.objects.filter(corrupt_at__isnull=False).exists()
