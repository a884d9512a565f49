"""What every store over an object service promises, against each service's API."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from artifacts.digests import Digest
from artifacts.exceptions import ArtifactNotFound, OffsetMismatch, StorageError
from artifacts.storage import Store
from artifacts.storage.objects import ObjectStore
from tests.factories import digest_of
from tests.object_servers import CuttingProxy, GoogleService, ObjectService

MIB = 1024**2
CONTENT = b"some content"
DIGEST = digest_of(CONTENT)
LARGE = random.Random(1).randbytes(20 * MIB + 5)  # three parts
LARGE_DIGEST = digest_of(LARGE)

MakeStore = Callable[..., Store]


def blocks_of(content: bytes, size: int = 300_000) -> Iterable[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


def put(
    store: Store,
    content: bytes,
    *,
    digest: Digest | None = None,
    file_name: str = "",
    length: int | None = None,
    replace: bool = False,
) -> bool:
    """Upload; the digest is given to `stage` if it is known beforehand."""
    with store.stage(digest, length, file_name) as staged:
        for block in blocks_of(content):
            staged.write(block)
        return staged.place(digest_of(content), replace=replace)


def read(store: Store, digest: Digest, offset: int = 0) -> bytes:
    with closing(store.open(digest, offset)) as reader:
        return b"".join(iter(lambda: reader.read(256 * 1024), b""))


@pytest.mark.parametrize("content", [b"", CONTENT, LARGE], ids=["empty", "small", "large"])
@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("has_length", [True, False], ids=["length", "no-length"])
def test_artifact_goes_in_and_comes_out(
    store: Store, service: ObjectService, bucket: str, content: bytes, is_known: bool, has_length: bool
) -> None:
    digest = digest_of(content)
    length = len(content) if has_length else None
    before = datetime.now(UTC) - timedelta(seconds=2)
    assert store.stat(digest) is None
    assert put(store, content, digest=digest if is_known else None, length=length, file_name="a b.txt") is True
    found = store.stat(digest)
    assert found is not None
    assert (found.size_bytes, found.file_name) == (len(content), "a b.txt")
    assert before <= found.modified_at <= datetime.now(UTC) + timedelta(seconds=2)
    assert digest_of(read(store, digest)) == digest
    assert service.keys(bucket) == [str(digest)]
    assert service.unfinished(bucket) == 0
    store.delete(digest)
    assert service.keys(bucket) == []
    store.delete(digest)


@pytest.mark.parametrize("offset", [0, 1, 256 * 1024, 256 * 1024 + 1, 9 * MIB, len(LARGE) - 1, len(LARGE)])
def test_reading_begins_at_an_offset(store: Store, service: ObjectService, bucket: str, offset: int) -> None:
    service.put(bucket, str(LARGE_DIGEST), LARGE)
    assert read(store, LARGE_DIGEST, offset) == LARGE[offset:]


@pytest.mark.parametrize("size", [256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 256 * 1024 + 8 * MIB, 8 * MIB, 16 * MIB])
def test_sizes_at_the_edges_of_ranges_and_parts(store: Store, size: int) -> None:
    content = LARGE[:size]
    assert put(store, content, digest=digest_of(content)) is True
    assert read(store, digest_of(content)) == content


def test_what_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(ArtifactNotFound):
        store.open(DIGEST)
    with pytest.raises(ArtifactNotFound):
        store.open(DIGEST, 5)
    assert store.stat(DIGEST) is None


def test_missing_bucket_is_an_error_and_not_a_missing_artifact(service: ObjectService, make_store: MakeStore) -> None:
    name = "bucket_name" if service.kind != "AzureBlob" else "azure_container"
    for use in (
        lambda store: store.stat(DIGEST),
        lambda store: store.open(DIGEST),
        lambda store: put(store, CONTENT),
        lambda store: put(store, LARGE, digest=LARGE_DIGEST),
        lambda store: list(store.digests()),
        lambda store: store.sweep(datetime.now(UTC)),
        lambda store: store.partial("a").append(0, CONTENT),
    ):
        store = make_store(**{name: "there-is-no-such-bucket"})
        with pytest.raises(StorageError):
            use(store)


@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
def test_upload_that_is_not_placed_leaves_nothing(
    store: Store, service: ObjectService, bucket: str, content: bytes, is_known: bool
) -> None:
    with store.stage(digest_of(content) if is_known else None) as staged:
        for block in blocks_of(content):
            staged.write(block)
        assert service.keys(bucket) == []
    assert service.keys(bucket) == []
    assert service.unfinished(bucket) == 0
    assert store.stat(digest_of(content)) is None


def test_artifact_is_not_placed_as_another(store: Store, service: ObjectService, bucket: str) -> None:
    with store.stage(LARGE_DIGEST) as staged:
        staged.write(CONTENT)
        with pytest.raises(ValueError, match="staged as another"):
            staged.place(DIGEST)
    assert service.keys(bucket) == []


def conditions_hold(service: ObjectService, content: bytes) -> bool:
    """fake-gcs-server ignores the conditions of resumable uploads and of copies (see test_resumable.py)."""
    return not isinstance(service, GoogleService) or content is CONTENT


@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
def test_of_twins_one_is_placed(
    store: Store, service: ObjectService, bucket: str, content: bytes, is_known: bool
) -> None:
    digest = digest_of(content)
    staged = [store.stage(digest if is_known else None, len(content), name) for name in ("first", "second")]
    for block in blocks_of(content):
        for one in staged:
            one.write(block)
    answers = [one.place(digest) for one in staged]
    for one in staged:
        one.discard()
    if conditions_hold(service, content):
        assert answers == [True, False]
        found = store.stat(digest)
        assert found is not None
        assert found.file_name == "first"
    assert digest_of(read(store, digest)) == digest
    assert service.keys(bucket) == [str(digest)]
    assert service.unfinished(bucket) == 0


@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["small", "large"])
def test_twins_at_the_same_time_make_one_object(
    store: Store, service: ObjectService, bucket: str, content: bytes
) -> None:
    together = threading.Barrier(4)
    answers: list[bool] = []

    def upload() -> None:
        with store.stage(digest_of(content), len(content)) as staged:
            for block in blocks_of(content):
                staged.write(block)
            together.wait(60)
            answers.append(staged.place(digest_of(content)))

    threads = [threading.Thread(target=upload) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if service.kind == "AWS-S3":
        assert True in answers  # moto looks first and writes then
    elif conditions_hold(service, content):
        assert sorted(answers) == [False, False, False, True]
    assert read(store, digest_of(content)) == content
    assert service.unfinished(bucket) == 0


@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
def test_corrupt_artifact_stays_unless_it_is_replaced(
    store: Store, service: ObjectService, bucket: str, content: bytes, is_known: bool
) -> None:
    digest = digest_of(content)
    known = digest if is_known else None
    service.put(bucket, str(digest), b"corrupt", {"filename": "old"})
    if conditions_hold(service, content) or is_known:
        assert put(store, content, digest=known) is False
        assert read(store, digest) == b"corrupt"
    assert put(store, content, digest=known, file_name="new", replace=True) is True
    found = store.stat(digest)
    assert found is not None
    assert (found.size_bytes, found.file_name) == (len(content), "new")
    assert read(store, digest) == content
    assert service.keys(bucket) == [str(digest)]


NAMES = [
    "plain.txt",
    "two  spaces.txt",
    " around ",
    "ünïcode.txt",
    "文件.tar.gz",
    "=?UTF-8?B?aGVsbG8=?=",
    "a=?b",
    '"quoted"; filename=x',
    "a,b;c=d&e<f>g%20+h",
    "😀" * 63,
    "x" * 255,
]


@pytest.mark.parametrize("name", NAMES)
def test_file_name_is_kept_exactly(store: Store, name: str) -> None:
    put(store, CONTENT, file_name=name)
    found = store.stat(DIGEST)
    assert found is not None
    assert found.file_name == name


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
def test_file_name_of_an_upload_in_parts_is_kept(store: Store, is_known: bool) -> None:
    put(store, LARGE, digest=LARGE_DIGEST if is_known else None, file_name="ünï = code.txt")
    found = store.stat(LARGE_DIGEST)
    assert found is not None
    assert found.file_name == "ünï = code.txt"


@pytest.mark.parametrize("key", ["Filename", "filename", "FILENAME"])
def test_object_that_chainloop_wrote_is_served(store: Store, service: ObjectService, bucket: str, key: str) -> None:
    service.put(bucket, str(DIGEST), CONTENT, {key: "sbom.json", "Author": "chainloop.dev"})
    found = store.stat(DIGEST)
    assert found is not None
    assert (found.size_bytes, found.file_name) == (len(CONTENT), "sbom.json")
    assert read(store, DIGEST) == CONTENT
    assert put(store, CONTENT) is False


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("=?utf-8?q?caf=C3=A9?=", "café"),
        ("=?nonsense?B?####?=", "=?nonsense?B?####?="),
        ("=?utf-8?B?!?=", ""),
        ("=?utf-8?B?L2V0Yy9wYXNzd2Q=?=", ""),  # /etc/passwd
        ("../../etc/passwd", ""),
        ("x" * 256, ""),
    ],
)
def test_any_metadata_of_other_writers_is_read(
    store: Store, service: ObjectService, bucket: str, written: str, name: str
) -> None:
    service.put(bucket, str(DIGEST), CONTENT, {"filename": written})
    found = store.stat(DIGEST)
    assert found is not None
    assert found.file_name == name


def test_prefix_goes_before_every_key(make_store: MakeStore, service: ObjectService, bucket: str) -> None:
    store = make_store(location="a/b")
    put(store, CONTENT)
    put(store, LARGE)
    store.partial("p").append(0, CONTENT)
    assert service.keys(bucket) == sorted([f"a/b/{DIGEST}", f"a/b/{LARGE_DIGEST}", f"a/b/.incoming/p/{0:020d}"])
    assert list(store.digests()) == sorted([DIGEST, LARGE_DIGEST], key=str)
    assert store.sweep(datetime.now(UTC) + timedelta(minutes=1)) == 1
    assert read(make_store(location="a/b"), LARGE_DIGEST) == LARGE
    assert make_store().stat(DIGEST) is None


def test_digests_come_in_order_page_after_page(store: ObjectStore, service: ObjectService, bucket: str) -> None:
    store.page_size = 2
    digests = sorted((digest_of(bytes([number])) for number in range(7)), key=str)
    for digest in digests:
        service.put(bucket, str(digest), b"x")
    others = ["healthcheck", "sha256:123", f"sha256:{'A' * 64}", f"sha256:{'0' * 63}g", f"{digests[0]}.txt", "sha512:0"]
    for key in [*others, ".incoming/x", f"sub/{digests[1]}"]:
        service.put(bucket, key, b"x")
    assert list(store.digests()) == digests
    assert list(store.digests(digests[2].hex)) == digests[3:]
    assert list(store.digests(digests[2].hex[:10])) == digests[2:]
    assert list(store.digests("f" * 64)) == []


def test_sweep_removes_what_is_old_and_nothing_else(store: ObjectStore, service: ObjectService, bucket: str) -> None:
    store.page_size = 2
    put(store, CONTENT)
    service.put(bucket, "healthcheck", b"x")
    service.put(bucket, ".incoming/left", b"x")
    partial = store.partial("tus-1")
    for offset in range(3):
        partial.append(offset, b"x")
    assert store.sweep(datetime.now(UTC) - timedelta(minutes=1)) == 0
    assert len(service.keys(bucket)) == 6
    assert store.sweep(datetime.now(UTC) + timedelta(minutes=1), {"tus-1", "left"}) == 0
    assert store.sweep(datetime.now(UTC) + timedelta(minutes=1), {"tus-1"}) == 1
    assert partial.size() == 3
    service.put(bucket, ".incoming/left", b"x")
    assert store.sweep(datetime.now(UTC) + timedelta(minutes=1)) == 2
    assert service.keys(bucket) == ["healthcheck", str(DIGEST)]


def test_upload_that_grows_is_not_swept(store: Store, service: ObjectService, bucket: str) -> None:
    partial = store.partial("slow")
    partial.append(0, b"x")
    time.sleep(2.1)  # services tell the time in seconds
    cut = datetime.now(UTC)
    time.sleep(1.1)
    partial.append(1, b"y")
    assert store.sweep(cut) == 0
    assert partial.size() == 2


def test_upload_in_pieces(store: ObjectStore, service: ObjectService, bucket: str) -> None:
    store.page_size = 2
    pieces = list(blocks_of(LARGE, 5 * MIB))
    partial = store.partial("tus-1")
    assert partial.size() == 0
    offset = 0
    for piece in pieces:
        partial.append(offset, piece)
        offset += len(piece)
        assert partial.size() == offset
    partial.append(offset, b"")
    again = store.partial("tus-1")
    assert again.size() == len(LARGE)
    assert store.partial("tus-2").size() == 0
    with closing(again.open()) as reader, again.stage(LARGE_DIGEST, "a.txt") as staged:
        for block in iter(lambda: reader.read(256 * 1024), b""):
            staged.write(block)
        assert staged.place(LARGE_DIGEST) is True
    assert read(store, LARGE_DIGEST) == LARGE
    again.discard()
    assert service.keys(bucket) == [str(LARGE_DIGEST)]
    assert again.size() == 0


def test_piece_at_the_wrong_offset_is_refused(store: Store) -> None:
    partial = store.partial("a")
    for offset in (1, -1):
        with pytest.raises(OffsetMismatch):
            partial.append(offset, b"x")
    partial.append(0, b"one")
    for offset in (0, 2, 4):
        with pytest.raises(OffsetMismatch):
            partial.append(offset, b"x")
    assert partial.size() == 3


def test_of_two_writers_of_a_piece_one_is_taken(store: Store) -> None:
    one, other = store.partial("a"), store.partial("a")
    assert one.size() == other.size() == 0
    one.append(0, b"one")
    with pytest.raises(OffsetMismatch):
        other.append(0, b"other")
    assert other.size() == 3
    other.append(3, b"!")
    with closing(store.partial("a").open()) as reader:
        assert reader.read(2) + reader.read(100) + reader.read(100) + reader.read(100) == b"one!"


def test_piece_that_went_is_an_error(store: Store, service: ObjectService, bucket: str) -> None:
    partial = store.partial("a")
    partial.append(0, b"one")
    partial.append(3, b"two")
    reader = partial.open()
    partial.discard()
    with pytest.raises(OSError, match="piece"):
        reader.read(100)
    service.put(bucket, f".incoming/a/{3:020d}", b"two")
    assert store.partial("a").size() == 0


def test_memory_of_a_transfer_is_bounded(store: Store, service: ObjectService) -> None:
    total = (100 if service.kind == "GCS" else 300) * MIB  # fake-gcs-server hashes all it has at each part
    block = LARGE[: 256 * 1024]
    digest = digest_of(block * (total // len(block)))
    tracemalloc.start()
    try:
        with store.stage(digest) as staged:
            for _ in range(total // len(block)):
                staged.write(block)
            assert staged.place(digest) is True
        size = 0
        with closing(store.open(digest)) as reader:
            while part := reader.read(256 * 1024):
                size += len(part)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == total
    assert peak < 48 * MIB


_ABANDON = """
import json, os, signal, sys
import django
django.setup()
from artifacts.digests import Digest
from artifacts.storage.backends import find_backend
kind, options, hex = sys.argv[1:]
staged = find_backend(kind).make_store(json.loads(options)).stage(Digest(hex) if hex else None)
for _ in range(40):
    staged.write(bytes(512 * 1024))
staged._wait()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
def test_process_that_was_killed_leaves_what_a_sweep_removes(
    store: Store, service: ObjectService, bucket: str, is_known: bool
) -> None:
    arguments = [service.kind, json.dumps(service.options(bucket)), DIGEST.hex if is_known else ""]
    killed = subprocess.run(
        [sys.executable, "-c", _ABANDON, *arguments],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert service.keys(bucket) == []
    left = service.unfinished(bucket)
    assert left == (1 if service.kind == "AWS-S3" else 0)
    assert store.sweep(datetime.now(UTC) + timedelta(minutes=1)) == left
    assert service.unfinished(bucket) == 0
    assert store.stat(DIGEST) is None


QUICK = {"connect_timeout": 1, "read_timeout": 1, "max_retries": 0}


@pytest.fixture
def silent_port() -> Iterable[int]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield silent.getsockname()[1]


def test_silent_service_is_given_up_on(
    service: ObjectService, make_store: MakeStore, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in service.environment(silent_port).items():
        monkeypatch.setenv(name, value)
    store = make_store(silent_port, **QUICK)
    uses: list[Callable[[], object]] = [
        lambda: store.stat(DIGEST),
        lambda: store.open(DIGEST),
        lambda: put(store, CONTENT),
        lambda: put(store, LARGE, digest=LARGE_DIGEST),
        lambda: list(store.digests()),
        lambda: store.partial("a").size(),
    ]
    for use in uses:
        started = time.monotonic()
        with pytest.raises(StorageError):
            use()
        assert time.monotonic() - started < 20


def test_absent_service_is_a_storage_error(
    service: ObjectService, make_store: MakeStore, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in service.environment(1).items():
        monkeypatch.setenv(name, value)
    store = make_store(1, **QUICK)
    with pytest.raises(StorageError):
        store.stat(DIGEST)


def test_connection_cut_in_a_download_does_not_look_like_an_end(
    service: ObjectService, make_store: MakeStore, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.put(bucket, str(LARGE_DIGEST), LARGE)
    proxy = CuttingProxy(service.port, limit=MIB)
    for name, value in service.environment(proxy.port).items():
        monkeypatch.setenv(name, value)
    store = make_store(proxy.port, **QUICK)
    with pytest.raises(Exception, match=r"."):  # whichever its vendor raises
        read(store, LARGE_DIGEST)
    proxy.close()


def test_download_that_is_left_does_not_fetch_the_rest(
    service: ObjectService, make_store: MakeStore, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.put(bucket, str(LARGE_DIGEST), LARGE)
    proxy = CuttingProxy(service.port, limit=100 * MIB)
    for name, value in service.environment(proxy.port).items():
        monkeypatch.setenv(name, value)
    store = make_store(proxy.port)
    reader = store.open(LARGE_DIGEST)
    assert reader.read(10) == LARGE[:10]
    reader.close()
    time.sleep(0.2)
    assert proxy.passed < len(LARGE) - 5 * MIB
    assert read(store, LARGE_DIGEST) == LARGE
    proxy.close()


def test_upload_over_a_slow_line_is_not_given_up_on(
    service: ObjectService, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = CuttingProxy(service.port, limit=100 * MIB, pause=0.03)  # about 2 MiB/s
    for name, value in service.environment(proxy.port).items():
        monkeypatch.setenv(name, value)
    store = make_store(proxy.port, connect_timeout=2, read_timeout=10, max_retries=0)
    content = LARGE[: 9 * MIB]
    assert put(store, content[: 6 * MIB]) is True
    assert put(store, content, digest=digest_of(content)) is True
    assert read(store, digest_of(content)) == content
    proxy.close()
