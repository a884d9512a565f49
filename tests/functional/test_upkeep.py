"""What a crash or a full disk leaves behind, with real processes and a real file system."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.factories import digest_of
from tests.functional.stack import SECONDS, LiveStack, Tenant
from tests.servers import wait_until
from tests.wanting import skip_without

MEBIBYTE = 1024**2


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[LiveStack]:
    """A stack of the test's own, of which it starts what it needs."""
    stack = LiveStack(tmp_path / "stack", nats=None)
    stack.prepare()
    yield stack
    stack.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        skip_without(f"the right to mount a file system, for a full disk: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def make_old(path: Path) -> None:
    then = time.time() - 25 * 3600
    os.utime(path, (then, then))


def test_leftover_of_a_killed_web_server_is_swept_at_a_start_once_it_is_old(own_stack: LiveStack) -> None:
    own_stack.start("web")
    with Tenant(own_stack).open_upload(f"/artifacts/{digest_of(b'x')}", Content_Length="5000000") as upload:
        upload.send(b"x" * MEBIBYTE)
        wait_until(lambda: [path for path in own_stack.incoming() if path.stat().st_size], SECONDS, "it is arriving")
        own_stack.kill("web")
    (leftover,) = own_stack.incoming()
    old = leftover.with_name("tmpold")
    shutil.copy(leftover, old)
    make_old(old)

    own_stack.start("web")
    wait_until(lambda: not old.exists(), SECONDS, "the old one is swept")
    assert leftover.exists()

    own_stack.kill("web")
    make_old(leftover)
    own_stack.start("web")
    wait_until(lambda: own_stack.incoming() == [], SECONDS, "it has become old, and is swept")


def test_start_is_not_held_up_by_a_location_that_cannot_be_swept(own_stack: LiveStack) -> None:
    own_stack.manage("create_location", "gone", "--folder", str(own_stack.folder / "gone"))
    (own_stack.folder / "gone").rmdir()
    own_stack.start("web")
    wait_until(lambda: "FILESYSTEM/gone could not be swept" in own_stack.log("web"), SECONDS, "it is told")
    assert Tenant(own_stack).put(b"content").status_code == 201


def test_maintenance_worker_scrubs_in_the_background(own_stack: LiveStack) -> None:
    own_stack.environment["CAS_SCRUB_BYTES_PER_SECOND"] = "1000000"
    own_stack.start("web", "maintenance")
    Tenant(own_stack).put(b"content")
    own_stack.path_of(b"content").write_bytes(b"damaged")

    def is_found() -> bool:
        # Sent again, for what is sent before the worker is there is purged.
        own_stack.manage("shell", "-c", "from artifacts.tasks import scrub_slice; scrub_slice.delay()")
        return f"{digest_of(b'content')} is corrupt" in own_stack.log("maintenance")

    wait_until(is_found, SECONDS, "the damage is found")


def test_full_disk_is_507_and_passes(own_stack: LiveStack, small_disk: Path) -> None:
    own_stack.manage("create_location", "small", "--folder", str(small_disk))
    own_stack.start("web")
    tenant = Tenant(own_stack, claims={"secret-id": "small"})
    workers = own_stack.processes("web")
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 6 * MEBIBYTE)

    for _ in range(3):
        large = os.urandom(4 * MEBIBYTE)
        answer = tenant.put(large)
        assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
        wait_until(lambda: list((small_disk / ".incoming").iterdir()) == [], SECONDS, "its temp file is gone")
    assert tenant.put(b"small").status_code == 201

    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        while True:  # until not a byte is left
            file.write(b"x" * 4096)
    assert tenant.put(os.urandom(5000)).status_code == 507
    assert list((small_disk / ".incoming").iterdir()) == []
    assert tenant.get(b"small").content == b"small"

    ballast.unlink()
    assert tenant.put(large).status_code == 201
    assert tenant.get(large).content == large
    assert own_stack.processes("web") == workers


def test_scrub_and_transfers_go_together(own_stack: LiveStack) -> None:
    own_stack.start("web")
    tenant = Tenant(own_stack)
    contents = [os.urandom(100_000) for _ in range(20)]
    for content in contents:
        assert tenant.put(content).status_code == 201
    own_stack.manage("verify_artifacts", "--rate", "20MB")
    for content in contents:
        assert tenant.get(content).content == content
