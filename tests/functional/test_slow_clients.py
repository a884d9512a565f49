"""Clients that stop half-way keep what they hold, and no more than their share of it."""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import cycle, repeat
from urllib.parse import urlencode

import pytest
import requests

from tests.factories import digest_of
from tests.functional.stack import SECONDS, LiveStack, RawRequest, Tenant
from tests.servers import wait_until

TRANSFERS = 16
SHARE = 12  # three quarters
Stall = Callable[[], tuple[RawRequest, bool]]
PASSWORD = "for-a-test-alone-1"
STALLED = 20  # more than all slots, and with as many of another kind more than all threads


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    """One web process, so that its slots can be counted from outside."""
    limits = {"CAS_WEB_WORKERS": "1", "CAS_WEB_THREADS": "24", "CAS_MAX_TRANSFERS": str(TRANSFERS)}
    stack = LiveStack(tmp_path_factory.mktemp("stack"), None, **limits, DJANGO_SUPERUSER_PASSWORD=PASSWORD)
    stack.prepare()
    stack.manage("createsuperuser", "--no-input", "--username", "admin", "--email", "admin@localhost")
    stack.manage("seed_events", "--count", "15000")  # more, as a file, than the buffers between server and client
    stack.start("web")
    yield stack
    stack.stop()


@pytest.fixture(scope="module")
def large(stack: LiveStack) -> bytes:
    """A stored artifact, larger than the buffers between server and client."""
    content = os.urandom(32 * 1024**2)
    assert Tenant(stack).put(content).status_code == 201
    return content


@pytest.fixture
def clients() -> Iterator[list[RawRequest]]:
    """Whom a test leaves waiting; they hang up after it."""
    clients: list[RawRequest] = []
    yield clients
    for client in clients:
        client.leave()


def stall_upload(tenant: Tenant, **headers: str) -> RawRequest:
    """Announce a body, send some of it, then nothing."""
    upload = tenant.open_upload(f"/artifacts/{digest_of(b'never sent')}", Content_Length="1000000", **headers)
    upload.send(b"some bytes")
    return upload


def stall_download(tenant: Tenant, content: bytes) -> tuple[RawRequest, bool]:
    """A download that nobody reads, and whether the server began it; else it was refused."""
    download = tenant.open_download(content)
    return download, download.peek(SECONDS).startswith(b"HTTP/1.1 200")


@pytest.fixture
def open_export(stack: LiveStack) -> Callable[[], RawRequest]:
    """Asks for all events as a file, and reads nothing of it."""
    with requests.Session() as session:
        url = f"{stack.url}/admin/login/"
        session.get(url, timeout=SECONDS)
        form = {"csrfmiddlewaretoken": session.cookies["csrftoken"], "username": "admin", "password": PASSWORD}
        assert session.post(url, form, timeout=SECONDS, allow_redirects=False).status_code == 302
        cookies = dict(session.cookies)
    body = urlencode({"csrfmiddlewaretoken": cookies["csrftoken"], "act": "csv"})
    headers = {
        "Host": f"127.0.0.1:{stack.port}",
        "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()),
        "Content-Type": "application/x-www-form-urlencoded",
        "Content-Length": str(len(body)),
    }

    def ask() -> RawRequest:
        export = RawRequest(stack.port, "POST /admin/audit/auditevent/matching/ HTTP/1.1", headers)
        export.send(body.encode())
        return export

    return ask


def stall_until_refused(stalls: Iterable[Stall], clients: list[RawRequest]) -> int:
    """How many the server took."""
    for taken, stall in enumerate(stalls):
        client, is_taken = stall()
        clients.append(client)
        if not is_taken:
            return taken
    raise AssertionError("the server refused none")


def assert_alive(stack: LiveStack) -> None:
    for _ in range(5):  # a thread that stalls is held until its client leaves
        assert requests.get(f"{stack.url}/livez", timeout=SECONDS).status_code == 200
    assert requests.get(f"{stack.url}/admin/login/", timeout=SECONDS).status_code == 200


def assert_all_slots_are_free(stack: LiveStack, clients: list[RawRequest]) -> None:
    while clients:
        clients.pop().leave()
    wait_until(lambda: Tenant(stack).admitted() == SHARE, SECONDS, "all slots are free again")
    wait_until(lambda: not stack.incoming(), SECONDS, "the temp files are gone")


def test_organization_whose_transfers_stall_keeps_no_other_out(
    stack: LiveStack, large: bytes, clients: list[RawRequest]
) -> None:
    stalling = Tenant(stack)
    both: list[Stall] = [stalling.stall_upload, partial(stall_download, stalling, large)]
    assert stall_until_refused(cycle(both), clients) == SHARE
    for _ in range(STALLED):
        clients.append(stall_upload(stalling))
        clients.append(stalling.open_download(large))
    assert_alive(stack)
    other = Tenant(stack)
    content = os.urandom(1000)
    assert other.put(content).status_code == 201
    assert other.get(content).content == content
    refused = stalling.get(content)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.json()["code"] == "unavailable"
    assert_all_slots_are_free(stack, clients)


@pytest.mark.parametrize("kind", ["uploads", "downloads"])
def test_server_whose_slots_are_all_taken_is_alive(
    stack: LiveStack, large: bytes, clients: list[RawRequest], kind: str
) -> None:
    taken = []
    for tenant in [Tenant(stack), Tenant(stack), Tenant(stack)]:
        stall = tenant.stall_upload if kind == "uploads" else partial(stall_download, tenant, large)
        taken.append(stall_until_refused(repeat(stall), clients))
    assert taken == [SHARE, TRANSFERS - SHARE, 0]
    clients += [stall_upload(Tenant(stack)) for _ in range(STALLED)]
    assert_alive(stack)
    assert Tenant(stack).put(b"content").status_code == 503
    assert_all_slots_are_free(stack, clients)


def test_bodies_of_clients_without_a_token_keep_nobody_out(stack: LiveStack, clients: list[RawRequest]) -> None:
    for _ in range(2 * STALLED):
        clients.append(stall_upload(Tenant(stack), Authorization="Bearer nonsense"))
        head = {"Host": "127.0.0.1", "Content-Type": "application/x-www-form-urlencoded", "Content-Length": "1000"}
        clients.append(RawRequest(stack.port, "POST /admin/login/ HTTP/1.1", head))
    assert_alive(stack)
    assert Tenant(stack).put(os.urandom(1000)).status_code == 201
    assert_all_slots_are_free(stack, clients)


def test_files_that_nobody_reads_keep_nobody_out(
    stack: LiveStack, open_export: Callable[[], RawRequest], clients: list[RawRequest]
) -> None:
    def stall() -> tuple[RawRequest, bool]:
        export = open_export()
        return export, export.peek(SECONDS).startswith(b"HTTP/1.1 200")

    assert stall_until_refused(repeat(stall), clients) == SHARE
    assert_alive(stack)
    assert Tenant(stack).put(os.urandom(1000)).status_code == 201
    assert_all_slots_are_free(stack, clients)


def test_file_that_breaks_off_says_so(stack: LiveStack, open_export: Callable[[], RawRequest]) -> None:
    with open_export() as export, sqlite3.connect(stack.folder / "cas.sqlite3") as database:
        answer = export.answer()
        assert answer.status == 200
        begun = answer.read(20_000)  # more than the names of columns, which it sends before it asks for events
        database.execute("ALTER TABLE audit_auditevent RENAME TO away")
        try:
            content = begun + answer.read()  # it ends as HTTP has a whole answer end
        finally:
            database.execute("ALTER TABLE away RENAME TO audit_auditevent")
    assert content.endswith(b"\r\nINCOMPLETE: the server failed before the end of this file\r\n")
    assert 1000 < content.count(b"\r\n") < 15_000


def test_slots_come_back_from_transfers_that_end_well(stack: LiveStack, large: bytes) -> None:
    tenant = Tenant(stack)
    for _ in range(2 * TRANSFERS):
        content = os.urandom(1000)
        assert tenant.put(content).status_code == 201
        assert tenant.get(content).status_code == 200
        assert tenant.get(content, Range="bytes=1-").status_code == 206
        assert tenant.get(b"not there").status_code == 404
    assert tenant.get(large).content == large
    assert_all_slots_are_free(stack, [])
