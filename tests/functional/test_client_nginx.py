"""The client behind nginx with the configuration that is shipped: TLS, and an `Expect` that is swallowed."""

import os
import re
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifact_cas_client.addresses import Server
from artifact_cas_client.connecting import Connection
from tests.factories import digest_of
from tests.functional.cas_command import Cas
from tests.functional.nginx import Nginx
from tests.functional.stack import SECONDS, LiveStack, Tenant
from tests.functional.test_client import write
from tests.servers import wait_until

MIB = 1024**2
_REQUEST_LENGTH = re.compile(r'" \d{3} (\d+) ')  # in the access log, after the status


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    stack = LiveStack(tmp_path_factory.mktemp("stack"), None, CAS_BEHIND_PROXY="true", CAS_SECURE_COOKIES="true")
    stack.prepare()
    stack.start("web")
    yield stack
    stack.stop()


@pytest.fixture
def cas(tenant: Tenant, nginx: Nginx, tmp_path: Path) -> Cas:
    cas = Cas(tenant, tmp_path)
    cas.url = nginx.url
    return cas


@pytest.mark.parametrize("size", [100_000, 3 * MIB, 20 * MIB])
def test_what_goes_up_comes_down(cas: Cas, nginx: Nginx, size: int) -> None:
    content = os.urandom(size)
    write(cas.folder / "file", content)
    options = ("--ca-file", str(nginx.certificate))
    assert cas.run("upload", *options, "--resumable-from", "16M", "file").out == f"{digest_of(content)}  file  stored\n"
    assert cas.run("download", *options, "-o", "copy", str(digest_of(content))).code == 0
    assert (cas.folder / "copy").read_bytes() == content
    assert not nginx.spooled()


@pytest.mark.parametrize("size", [3 * MIB, 20 * MIB])
def test_what_is_there_costs_no_body(cas: Cas, nginx: Nginx, tenant: Tenant, size: int) -> None:
    content = os.urandom(size)
    Tenant(tenant.stack).put(content)
    write(cas.folder / "file", content)
    before = len(request_lengths(nginx))
    done = cas.run("upload", "--ca-file", nginx.certificate, "--resumable-from", "16M", "file")
    assert done.out == f"{digest_of(content)}  file  already there\n"
    assert [row["skipped"] for row in tenant.rows()] == [1]
    wait_until(lambda: len(request_lengths(nginx)) > before, what="nginx logs it, after the answer")
    assert all(length < 5_000 for length in request_lengths(nginx)[before:])


def request_lengths(nginx: Nginx) -> list[int]:
    return list(map(int, _REQUEST_LENGTH.findall((nginx.folder / "artifact-cas.log").read_text())))


def test_a_connection_that_is_broken_off_sends_nothing_in_the_clear(nginx: Nginx) -> None:
    tls = ssl.create_default_context(cafile=str(nginx.certificate))
    connection = Connection(Server.parse(nginx.url), SECONDS, tls, threading.Event())
    connection.connect()
    connection.interrupt()
    assert isinstance(connection.sock, ssl.SSLSocket)
    assert connection.sock.version()  # it is TLS yet
    with pytest.raises(OSError, match=r"pipe|EOF"):
        connection.send(b"secret")
    connection.close()


def test_a_certificate_that_is_not_trusted_ends_it(cas: Cas, content: bytes) -> None:
    write(cas.folder / "file", content)
    done = cas.run("upload", "file")
    assert (done.code, "untrusted_certificate" in done.err) == (2, True)
