"""Servers and workers are restarted in turn while clients go on: nobody notices, and every event is there once.

With `--log-cli-level=INFO` it tells how many transfers that were, and how long the slowest took.
"""

import logging
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.chaos.clients import Clients, Outcome
from tests.chaos.comparison import Verdict, compare
from tests.chaos.stream import Stream
from tests.chaos.trail import Database
from tests.factories import digest_of
from tests.functional.nginx import Nginx
from tests.functional.stack import SECONDS, LiveStack, Tenant, waiting_files
from tests.servers import NatsServer, accepts, wait_until

logger = logging.getLogger(__name__)

MIB = 1024**2


class Pair:
    """Two web servers over one database and folder, and the shipped nginx before them."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.nats = NatsServer(folder / "nats")
        self.first = LiveStack(folder / "stack", self.nats, CAS_BEHIND_PROXY="true", CAS_WEB_WORKERS="1", **environment)
        self.first.prepare()
        self.second = LiveStack(folder / "stack", None)
        self.second.environment = {**self.first.environment, "CAS_PORT": str(self.second.port)}
        self.first.start()
        self.second.start("web")
        (folder / "nginx").mkdir()
        changes = {
            f"server 127.0.0.1:{self.first.port};": "\n".join(map(_upstream, (self.first, self.second))),
            # A reload closes idle connections of clients, which would meet that in mid-request.
            "server_tokens off;": "server_tokens off; keepalive_timeout 0;",
        }
        self.nginx = Nginx(folder / "nginx", self.first, changes)
        self.nginx.start()

    def close(self) -> None:
        self.nginx.stop()
        self.second.stop()
        self.first.stop()

    def restart(self, server: LiveStack) -> None:
        """Restart a web server; nginx, which asks for no `/readyz` itself, is told of what that says."""
        line = _upstream(server)
        with ThreadPoolExecutor() as pool:
            status = pool.submit(server.retire, "web")
            wait_until(lambda: readiness(server) == 503, SECONDS, "it drains")
            self.nginx.change(line, line.replace(";", " down;"))
            assert status.result() == 0
        server.start("web")
        self.nginx.change(line.replace(";", " down;"), line)

    @contextmanager
    def clients(self) -> Iterator[Clients]:
        url, certificate = self.nginx.url, self.nginx.certificate
        with Clients(self.first, are_slow=True, url=url, certificate=certificate) as clients:
            wait_until(lambda: len(clients.transfers) > 50, SECONDS, "clients are under way")
            yield clients
            before = len(clients.transfers)
            wait_until(lambda: len(clients.transfers) > before + 50, SECONDS, "clients went on")

    def compare(self, clients: Clients) -> Verdict:
        """What clients saw beside trail and stream, once all is published."""
        database = Database(self.first.folder / "cas.sqlite3")

        def is_settled() -> bool:
            return not waiting_files(self.first.folder) and not database.pending(0)  # the way that events take

        wait_until(is_settled, 2 * SECONDS, "all is published")
        ids = Stream(self.nats.url).ids()  # before the rows: a message that comes in between would be of no row
        return compare(clients.transfers, database.rows(), ids)


def _upstream(server: LiveStack) -> str:
    return f"server 127.0.0.1:{server.port} max_fails=1 fail_timeout=2s;"


def readiness(server: LiveStack) -> int:
    """What `/readyz` says; 0 when not at once, as a probe gives up, for the answer may take as long as the drain."""
    try:
        return requests.get(f"{server.url}/readyz", timeout=1).status_code
    except requests.Timeout:
        return 0


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path, CAS_DRAIN_SECONDS="15", CAS_GRACE_SECONDS="10")
    yield pair
    pair.close()


def test_no_transfer_fails_while_servers_and_worker_are_restarted_in_turn(pair: Pair) -> None:
    with pair.clients() as clients:
        for server in (pair.first, pair.second):
            pair.restart(server)
        assert pair.first.retire("worker") == 0
        pair.first.start("worker")
    verdict = pair.compare(clients)
    failed = [each for each in clients.transfers if each.outcome is not Outcome.ACKNOWLEDGED]
    slowest = max(each.seconds for each in clients.transfers)
    logger.info("%d transfers, %d failed, the longest took %.2f s", len(clients.transfers), len(failed), slowest)
    assert failed == []
    assert (verdict.rows, verdict.messages) == (len(clients.transfers), len(clients.transfers))
    assert (verdict.lost, verdict.doubled, verdict.unfounded) == (0, 0, 0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveStack]:
    """One web server, to be started, that drains and gives grace for longer than anything here takes."""
    stack = LiveStack(tmp_path / "stack", None, CAS_WEB_WORKERS="1", CAS_DRAIN_SECONDS="12", CAS_GRACE_SECONDS="60")
    stack.prepare()
    yield stack
    stack.stop()


@contextmanager
def ending(server: LiveStack) -> Iterator["Future[int]"]:
    """The web server has been told to end, and closed its port; the future is its exit status."""
    with ThreadPoolExecutor() as pool:
        status = pool.submit(server.retire, "web")
        wait_until(lambda: not accepts(server.port), SECONDS, "the port is closed")
        yield status


def test_server_that_drains_serves_on_and_says_so(server: LiveStack) -> None:
    server.start("web")
    tenant = Tenant(server)
    with ThreadPoolExecutor() as pool, requests.Session() as session:
        status = pool.submit(server.retire, "web")
        url = f"{server.url}/readyz"
        wait_until(lambda: session.get(url, timeout=SECONDS).status_code == 503, SECONDS, "it is not ready")
        assert session.get(url, timeout=SECONDS).json() == {"status": "draining"}
        stored = tenant.put(b"while it drains")
        assert (stored.status_code, stored.headers["Connection"]) == (201, "close")
        assert requests.get(f"{server.url}/livez", timeout=SECONDS).status_code == 200
        assert status.result() == 0


def test_transfers_under_way_end_whole_within_the_grace_time(server: LiveStack) -> None:
    server.start("web")
    tenant, content, large = Tenant(server), os.urandom(MIB), os.urandom(32 * MIB)
    assert tenant.put(large).status_code == 201
    path = f"/artifacts/{digest_of(content)}"
    with tenant.open_upload(path, Content_Length=str(MIB)) as upload, tenant.open_download(large) as download:
        upload.send(content[:1000])
        answer = download.answer()
        begun = answer.read(1000)
        with ending(server) as status:
            upload.send(content[1000:])
            assert upload.answer().status == 201
            assert begun + answer.read() == large
            assert status.result() == 0
    assert server.path_of(content).read_bytes() == content
    server.start("web")  # takes in what its forerunner left in the write-ahead log
    wait_until(lambda: len(tenant.rows()) == 3, SECONDS, "each transfer has its event")


def test_transfers_are_cut_after_the_grace_time_and_leave_no_trace(server: LiveStack) -> None:
    server.environment |= {"CAS_DRAIN_SECONDS": "0", "CAS_GRACE_SECONDS": "3"}
    server.start("web")
    tenant, content, large = Tenant(server), os.urandom(MIB), os.urandom(32 * MIB)
    assert tenant.put(large).status_code == 201
    path = f"/artifacts/{digest_of(content)}"
    with tenant.open_upload(path, Content_Length=str(MIB)) as upload, tenant.open_download(large) as download:
        upload.send(content[:1000])
        assert download.receive(1000)
        with ending(server) as status:
            status.result()
        with pytest.raises(OSError, match=r"reset|closed"):  # without an answer
            upload.answer()
    server.start("web")
    assert not server.path_of(content).exists()
    wait_until(lambda: len(tenant.rows()) == 1, SECONDS, "the upload that was whole has its event")
    assert tenant.put(content).status_code == 201
    assert tenant.get(large).content == large
