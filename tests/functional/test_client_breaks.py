"""The client where lines are cut, servers are killed, and the user has had enough."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from artifact_cas_client import Client, ConnectionFailed
from artifacts.tokens import UPLOADER
from tests.factories import digest_of
from tests.functional.cas_command import Cas, Line, token
from tests.functional.stack import LiveStack, Tenant
from tests.functional.test_client import write
from tests.servers import wait_until

MIB = 1024**2


@pytest.fixture
def cas(tenant: Tenant, tmp_path: Path) -> Cas:
    return Cas(tenant, tmp_path)


class At:
    """Does something once when so many bytes have been sent or received."""

    def __init__(self, count: int, action: Callable[[], object]) -> None:
        self._left = count
        self._action: Callable[[], object] | None = action

    def begin(self, size: int) -> None:
        pass

    def advance(self, count: int) -> None:
        self._left -= count
        if self._left <= 0 and self._action:
            action, self._action = self._action, None
            action()


def check_stored_once(tenant: Tenant, content: bytes) -> None:
    assert tenant.get(content).content == content
    rows = [row for row in tenant.wait_for_published(2) if row["action"] == "CASArtifactUploaded"]
    assert [(row["skipped"], row["size_bytes"]) for row in rows] == [(0, len(content))]


def test_a_server_killed_midway_is_waited_for_and_the_upload_goes_on(
    tenant: Tenant, stack: LiveStack, tmp_path: Path
) -> None:
    content = os.urandom(48 * MIB)

    def kill_and_start() -> None:
        stack.kill("web")
        stack.start("web")

    with Line(stack.port) as line:
        client = Client(
            line.url,
            token(tenant, UPLOADER),
            resumable_from=MIB,
            cache=tmp_path / "cache",
            progress=At(40 * MIB, kill_and_start),
        )
        uploaded = client.upload(write(tmp_path / "file", content))
        assert not uploaded.skipped
        assert line.carried["up"] < 80 * MIB  # not all of it again
    check_stored_once(tenant, content)


def test_a_server_killed_midway_has_a_small_upload_sent_again(tenant: Tenant, stack: LiveStack, tmp_path: Path) -> None:
    content = os.urandom(24 * MIB)

    def kill_and_start() -> None:
        stack.kill("web")
        stack.start("web")

    progress = At(20 * MIB, kill_and_start)
    client = Client(stack.url, token(tenant, UPLOADER), cache=tmp_path / "cache", progress=progress)
    assert not client.upload(write(tmp_path / "file", content)).skipped
    assert tenant.get(content).content == content
    assert len(tenant.wait_for_published(2)) == 2


def test_the_same_command_goes_on_with_an_upload_that_broke_off(cas: Cas, tenant: Tenant, stack: LiveStack) -> None:
    content = os.urandom(8 * MIB)
    write(cas.folder / "file", content)
    with Line(stack.port, up=[10_000, 6 * MIB]) as line:
        cas.url = line.url
        done = cas.run("upload", "--resumable-from", "1M", "--retries", "0", "file")
        assert (done.code, done.out) == (6, "")
        assert len(cas.remembered()) == 1
        first = line.carried["up"]
        done = cas.run("upload", "--resumable-from", "1M", "file")
        assert done.out == f"{digest_of(content)}  file  stored\n"
        assert line.carried["up"] - first < 6 * MIB  # a server that was behind may ask for a part again
    assert not cas.remembered()
    check_stored_once(tenant, content)


def test_an_upload_that_another_overtakes_is_told_so(tenant: Tenant, stack: LiveStack, tmp_path: Path) -> None:
    content = os.urandom(4 * MIB)
    client = Client(
        stack.url,
        token(tenant, UPLOADER),
        resumable_from=MIB,
        cache=tmp_path / "cache",
        progress=At(2 * MIB, lambda: tenant.put(content)),
    )
    assert client.upload(write(tmp_path / "file", content)).skipped
    assert [row["skipped"] for row in tenant.wait_for_published(2)] == [0, 1]


def test_an_upload_that_is_known_no_more_is_begun_anew(cas: Cas, tenant: Tenant, stack: LiveStack) -> None:
    content = os.urandom(4 * MIB)
    write(cas.folder / "file", content)
    with Line(stack.port, up=[10_000, MIB]) as line:
        cas.url = line.url
        cas.run("upload", "--resumable-from", "1M", "--retries", "0", "file")
        for remembered in cas.remembered():
            remembered.write_text("00000000-0000-0000-0000-000000000000")
        assert cas.run("upload", "--resumable-from", "1M", "file").code == 0
    assert tenant.get(content).content == content


def test_a_connection_cut_again_and_again_does_not_fail_an_upload(
    tenant: Tenant, stack: LiveStack, tmp_path: Path
) -> None:
    content = os.urandom(6 * MIB)
    with Line(stack.port, up=[10_000, 2 * MIB, 5_000, 2 * MIB, 5_000, MIB]) as line:
        client = Client(line.url, token(tenant, UPLOADER), resumable_from=MIB, cache=tmp_path / "cache", retries=2)
        client.upload(write(tmp_path / "file", content))
        # Some of it twice, where a server that is behind asks for it; each time from the start it would be 11 MiB.
        assert line.carried["up"] < 10 * MIB
    check_stored_once(tenant, content)


def test_a_connection_cut_again_and_again_does_not_fail_a_download(cas: Cas, tenant: Tenant, stack: LiveStack) -> None:
    content = os.urandom(6 * MIB)
    tenant.put(content, "name")
    with Line(stack.port, down=[2 * MIB, 100_000, 300, 2 * MIB]) as line:
        cas.url = line.url
        done = cas.run("download", "--retries", "2", str(digest_of(content)))
        assert (done.out, done.err) == (f"{digest_of(content)}  name\n", "")
        assert line.connections == 5
        assert line.carried["down"] < len(content) + 10_000
    assert (cas.folder / "name").read_bytes() == content
    assert not cas.parts()


def test_the_same_command_goes_on_with_a_download_that_broke_off(cas: Cas, tenant: Tenant, stack: LiveStack) -> None:
    content = os.urandom(6 * MIB)
    tenant.put(content, "name")
    with Line(stack.port, down=[4 * MIB]) as line:
        cas.url = line.url
        assert cas.run("download", "--retries", "0", str(digest_of(content))).code == 6
        (part,) = cas.parts()
        assert 0 < part.stat().st_size < len(content)
        assert not (cas.folder / "name").exists()
        assert cas.run("download", str(digest_of(content))).code == 0
        assert line.carried["down"] < len(content) + 10_000
    assert (cas.folder / "name").read_bytes() == content
    assert not cas.parts()


@pytest.mark.parametrize("left", [b"not its beginning", bytes(9 * MIB)], ids=["shorter", "longer"])
def test_a_part_of_something_else_is_not_gone_on_with(cas: Cas, tenant: Tenant, content: bytes, left: bytes) -> None:
    tenant.put(content, "name")
    write(cas.folder / f".cas-{digest_of(content).hex}.part", left)
    assert cas.run("download", str(digest_of(content))).code == 0
    assert (cas.folder / "name").read_bytes() == content
    assert not cas.parts()


def test_a_whole_part_only_gets_its_name(cas: Cas, tenant: Tenant, content: bytes) -> None:
    tenant.put(content, "name")
    write(cas.folder / f".cas-{digest_of(content).hex}.part", content)
    assert cas.run("download", str(digest_of(content))).code == 0
    assert (cas.folder / "name").read_bytes() == content
    assert len(tenant.wait_for_published(1)) == 1


def test_a_whole_part_of_what_is_gone_is_of_no_artifact(cas: Cas, tenant: Tenant, content: bytes) -> None:
    write(cas.folder / f".cas-{digest_of(content).hex}.part", content)
    assert cas.run("download", str(digest_of(content))).code == 4


def test_a_download_is_for_one_process_at_a_time(cas: Cas, tenant: Tenant, stack: LiveStack, content: bytes) -> None:
    tenant.put(content, "name")
    with Line(stack.port, down=[500_000], stalls=True) as line:
        cas.url = line.url
        first = cas.start("download", str(digest_of(content)))
        wait_until(lambda: cas.parts() and cas.parts()[0].stat().st_size, what="the first has begun")
        second = cas.run("download", str(digest_of(content)))
        assert (second.code, "another download" in second.err) == (1, True)
        line.go_on.set()
        assert first.communicate()[0] == f"{digest_of(content)}  name\n".encode()
    assert (cas.folder / "name").read_bytes() == content


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_download_leaves_what_can_be_resumed(
    cas: Cas, tenant: Tenant, stack: LiveStack, content: bytes, number: signal.Signals
) -> None:
    tenant.put(content, "name")
    with Line(stack.port, down=[500_000], stalls=True) as line:
        cas.url = line.url
        process = cas.start("download", str(digest_of(content)))
        wait_until(lambda: cas.parts() and cas.parts()[0].stat().st_size, what="it has begun")
        process.send_signal(number)
        assert process.communicate(timeout=60) == (b"", b"")
        assert process.returncode == 130
        assert not (cas.folder / "name").exists()
        line.go_on.set()
        assert cas.run("download", str(digest_of(content))).code == 0
    assert (cas.folder / "name").read_bytes() == content


def test_an_interrupted_upload_can_be_resumed(cas: Cas, tenant: Tenant, stack: LiveStack) -> None:
    content = os.urandom(8 * MIB)
    write(cas.folder / "file", content)
    with Line(stack.port, up=[10_000, 2 * MIB], stalls=True) as line:
        cas.url = line.url
        process = cas.start("upload", "--resumable-from", "1M", "file")
        wait_until(lambda: line.carried["up"] > MIB, what="it has begun")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == (b"", b"")
        assert process.returncode == 130
        assert len(cas.remembered()) == 1
        line.go_on.set()
        assert cas.run("upload", "--resumable-from", "1M", "file").code == 0
    check_stored_once(tenant, content)


def sockets(port: int) -> list[list[str]]:
    """This machine's connections to a port: their fields in the kernel's table (proc_net_tcp(5))."""
    table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return [fields for fields in table if fields[2].endswith(f":{port:04X}")]


@contextmanager
def full_port() -> Iterator[int]:
    """Takes no connection, nor refuses one: who connects waits."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, ExitStack() as held:
        while True:
            client = held.enter_context(socket.socket())
            client.settimeout(0.3)
            try:
                client.connect(server.getsockname())
            except TimeoutError:
                client.close()
                break
        yield server.getsockname()[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_making_of_a_connection(cas: Cas, number: signal.Signals) -> None:
    with full_port() as port:
        cas.url = f"http://127.0.0.1:{port}"
        process = cas.start("describe", "0" * 64)
        wait_until(lambda: [fields for fields in sockets(port) if fields[3] == "02"], what="it connects")
        process.send_signal(number)
        assert process.communicate(timeout=10) == (b"", b"")
        assert process.returncode == 130


def test_an_interrupt_ends_the_making_of_a_tls_connection(cas: Cas) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        cas.url = f"https://127.0.0.1:{server.getsockname()[1]}"
        process = cas.start("describe", "0" * 64)
        connection = server.accept()[0]
        with connection:
            assert connection.recv(1) == b"\x16"  # a handshake, which is not answered
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=10) == (b"", b"")
    assert process.returncode == 130


def test_a_machine_that_has_gone_is_found_out_while_it_is_waited_for(cas: Cas) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        cas.url = f"http://127.0.0.1:{port}"
        process = cas.start("describe", "0" * 64)
        connection = server.accept()[0]
        with connection:
            # What is sent is acknowledged; then a timer runs of itself, and it is the one that probes.
            wait_until(lambda: [fields for fields in sockets(port) if fields[5].startswith("02:")], what="it probes")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=10)


def test_a_server_that_is_away_is_told_so(cas: Cas, tmp_path: Path) -> None:
    write(cas.folder / "file", b"content")
    cas.url = "http://127.0.0.1:1"
    done = cas.run("upload", "--retries", "1", "file")
    assert (done.code, "connection_failed" in done.err) == (6, True)
    with pytest.raises(ConnectionFailed):
        Client(cas.url, "token", retries=0).describe("0" * 64)
