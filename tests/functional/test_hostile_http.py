"""Bytes that no client library would send, to the real server: no 5xx, and nothing stored that does not match."""

import os
import re
import socket
from contextlib import suppress
from http.client import HTTPMessage, parse_headers
from io import BytesIO
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifacts.tokens import DOWNLOADER, UPLOADER
from tests.factories import digest_of, files_in
from tests.functional.stack import SECONDS, LiveStack, Tenant
from tests.servers import wait_until

FUZZ = settings(
    max_examples=60, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


def exchange(stack: LiveStack, request: bytes, *, is_all: bool = True) -> tuple[int, HTTPMessage, bytes]:
    """Send bytes, and no more unless they are all; read to the end: status, headers, body.

    The status is 0 where there is none: a client that stops sending half-way is not always told why.
    """
    received = bytearray()
    with socket.create_connection(("127.0.0.1", stack.port), timeout=SECONDS) as connection:
        with suppress(ConnectionError, OSError):  # it had heard enough
            connection.sendall(request)
            if not is_all:
                connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while block := connection.recv(65536):
                received += block
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    if not head:
        return 0, HTTPMessage(), b""
    line, _, fields = head.partition(b"\r\n")
    return int(line.split()[1]), parse_headers(BytesIO(fields + b"\r\n\r\n")), body


def request(tenant: Tenant, method: str, target: bytes, fields: bytes = b"", body: bytes = b"") -> bytes:
    token = tenant.headers(UPLOADER if method in {"PUT", "POST"} else DOWNLOADER)["Authorization"]
    head = f"Host: 127.0.0.1\r\nConnection: close\r\nAuthorization: {token}\r\n".encode()
    return method.encode() + b" " + target + b" HTTP/1.1\r\n" + head + fields + b"\r\n" + body


CONTENT_LENGTHS = {
    "negative": (b"Content-Length: -1\r\n", {400}),
    "signed": (b"Content-Length: +12\r\n", {400}),
    "no number": (b"Content-Length: twelve\r\n", {400}),
    "hexadecimal": (b"Content-Length: 0xc\r\n", {400}),
    "empty": (b"Content-Length: \r\n", {400}),
    "list": (b"Content-Length: 12, 12\r\n", {400}),
    "two that differ": (b"Content-Length: 12\r\nContent-Length: 5\r\n", {400}),
    "two that differ, longer last": (b"Content-Length: 5\r\nContent-Length: 12\r\n", {400}),
    "all of 64 bits": (b"Content-Length: 18446744073709551615\r\n", {400, 413, 431}),
    "more than 64 bits": (b"Content-Length: 99999999999999999999999\r\n", {400, 413}),
    "too short": (b"Content-Length: 5\r\n", {422}),
    "too long": (b"Content-Length: 20\r\n", {400}),
    "none": (b"", {422}),
    "space before the colon": (b"Content-Length : 12\r\n", {400}),
    "folded": (b"X: a\r\n b\r\nContent-Length: 12\r\n", {400}),
    "NUL in another header": (b"Content-Length: 12\r\nX: a\0b\r\n", {400}),
    "with chunked, body not chunked": (b"Content-Length: 12\r\nTransfer-Encoding: chunked\r\n", {400, 422}),
    "unknown coding": (b"Transfer-Encoding: gzip\r\n", {400, 501}),
    "coding that looks like chunked": (b"Transfer-Encoding: xchunked\r\n", {400, 501}),
    "chunked not last": (b"Transfer-Encoding: chunked, gzip\r\n", {400, 501}),
    "chunked by another name": (b"Transfer_Encoding: chunked\r\nContent-Length: 5\r\n", {400, 422}),
}


@pytest.mark.parametrize("case", CONTENT_LENGTHS)
def test_lying_length_stores_nothing(stack: LiveStack, tenant: Tenant, case: str) -> None:
    fields, statuses = CONTENT_LENGTHS[case]
    content = b"no: " + os.urandom(8)
    target = f"/artifacts/{digest_of(content)}".encode()
    is_all = case not in {"too long", "all of 64 bits"}
    status, headers, _ = exchange(stack, request(tenant, "PUT", target, fields, content), is_all=is_all)
    assert status in statuses or (status == 0 and not is_all), headers
    assert not stack.path_of(content).exists()
    wait_until(lambda: not stack.incoming(), what="the temp file is gone")
    assert tenant.put(content).status_code == 201


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 12\r\n",
        b"Content-Length: 12\r\nContent-Length: 12\r\n",
        b"Content-Length: 012\r\n",
        b"Content_Length: 5\r\nContent-Length: 12\r\n",
        b"Content-Length: 12\r\nContent_Length: 5\r\n",
    ],
)
def test_length_that_is_true_stores_all_of_it(stack: LiveStack, tenant: Tenant, fields: bytes) -> None:
    content = os.urandom(12)
    target = f"/artifacts/{digest_of(content)}".encode()
    assert exchange(stack, request(tenant, "PUT", target, fields, content))[0] == 201
    assert stack.path_of(content).read_bytes() == content


def test_length_beside_chunks_counts_for_nothing(stack: LiveStack, tenant: Tenant) -> None:
    """RFC 9112, section 6.3: the coding overrides it; and what comes after is not taken for a body."""
    content = os.urandom(12)
    target = f"/artifacts/{digest_of(content)}".encode()
    chunked = b"c\r\n" + content + b"\r\n0\r\n\r\n"
    fields = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"
    assert exchange(stack, request(tenant, "PUT", target, fields, chunked))[0] in {201, 400}
    assert not stack.path_of(content).exists() or stack.path_of(content).read_bytes() == content


CHUNKS = [
    b"",
    b"0",
    b"0\r\n",
    b"c\r\n",
    b"c\r\n0123",
    b"-1\r\n\r\n",
    b"zz\r\n",
    b"ffffffffffffffff\r\n0123",
    b"fffffffffffffffffffffff\r\n",
    b"5\r\n01234" + b"X" * 20,
    b"4;x=" + b"y" * 20_000 + b"\r\n0123\r\n0\r\n\r\n",
    b"4\r\n0123\r\n0\r\nTrailer: " + b"y" * 1000,
]


@pytest.mark.parametrize("number", range(len(CHUNKS)))
def test_chunks_that_are_none_store_nothing(stack: LiveStack, tenant: Tenant, number: int) -> None:
    content = os.urandom(12)
    target = f"/artifacts/{digest_of(content)}".encode()
    for method, path in (("PUT", target), ("POST", b"/artifacts/")):
        sent = request(tenant, method, path, b"Transfer-Encoding: chunked\r\n", CHUNKS[number])
        assert exchange(stack, sent, is_all=False)[0] in {0, 400, 411, 422}
    assert not stack.path_of(content).exists()
    assert tenant.rows() == []


CUT_OFF = b"never whole\n"


@FUZZ
@given(st.integers(0, 11), st.sampled_from([12, 13, 100_000, 10**15]))
def send_short(stack: LiveStack, tenant: Tenant, sent: int, announced: int) -> None:
    target = f"/artifacts/{digest_of(CUT_OFF)}".encode()
    put = request(tenant, "PUT", target, f"Content-Length: {announced}\r\n".encode(), CUT_OFF[:sent])
    status, _, body = exchange(stack, put, is_all=False)
    assert status in {0, 400, 413}
    assert not status or b"incomplete_body" in body or b"too_large" in body


def test_body_that_ends_early_is_incomplete_wherever_it_ends(stack: LiveStack, tenant: Tenant) -> None:
    send_short(stack, tenant)
    assert not stack.path_of(CUT_OFF).exists()
    assert tenant.rows() == []


ODD = "\r\n\0\t\x7f\x85\u202e\u2066\u2028\ufeff/\\\"';,=%&<>:. aé文🎉\ud800"


@FUZZ
@given(st.text(st.sampled_from(ODD) | st.characters(), min_size=1, max_size=30), st.integers(0, 2))
def send_name(stack: LiveStack, tenant: Tenant, name: str, way: int) -> None:
    raw = name.encode(errors="surrogatepass")
    content = os.urandom(8)
    path = f"/artifacts/{digest_of(content)}".encode()
    fields = [
        b"",
        b"Content-Disposition: attachment; filename*=UTF-8''" + quote(raw, safe="").encode() + b"\r\n",
        # As it is, but for what would end the header.
        b'Content-Disposition: attachment; filename="' + re.sub(rb"[\r\n\0]", b"", raw) + b'"\r\n',
    ][way]
    target = path + b"?filename=" + quote(raw, safe="").encode() if way == 0 else path
    status, _, body = exchange(stack, request(tenant, "PUT", target, fields + b"Content-Length: 8\r\n", content))
    assert status in {201, 400}, body
    if status == 400:
        assert not stack.path_of(content).exists()
        return
    status, headers, body = exchange(stack, request(tenant, "GET", path))
    assert (status, body) == (200, content)
    assert {name.lower() for name in headers} <= DOWNLOAD_HEADERS
    (disposition,) = headers.get_all("Content-Disposition") or [""]
    assert disposition.startswith("attachment")
    if way < 2 and "filename*=" in disposition:
        assert unquote(disposition.partition("filename*=utf-8''")[2], errors="strict") == name


DOWNLOAD_HEADERS = {
    *("content-type", "content-length", "content-disposition", "etag", "repr-digest", "accept-ranges", "cache-control"),
    *("content-security-policy", "x-content-type-options", "referrer-policy", "cross-origin-opener-policy"),
    *("server", "date", "connection", "allow", "x-request-id"),
}


def test_file_name_is_refused_or_comes_back_and_is_never_a_header(stack: LiveStack, tenant: Tenant) -> None:
    send_name(stack, tenant)


HEX = digest_of(b"some content").hex
DIGESTS = st.one_of(
    st.sampled_from(
        [
            f"sha256:{HEX.upper()}",
            f"SHA256:{HEX}",
            f"sha256:{HEX}%0a",
            f"sha256:{HEX}%0d%0aX: y",
            f"sha256:{HEX}%00",
            f"sha256%3a{HEX[:-1]}%EF%BC%91",  # a full-width 1
            f"sha256:{HEX[:-1]}%D9%A1",  # an Arabic-Indic 1
            f"sha256:{HEX}/",
            f"sha256:../{HEX}",
            f"../artifacts/sha256:{HEX[:-1]}",
            f"..%2f..%2f{HEX}",
            f"%2e%2e/%2e%2e/sha256:{HEX}",
            f"sha256:{'%2e' * 64}",
            f"sha256:{'../' * 21}e",
            f"sha256:{HEX}{HEX}",
            f"sha512:{HEX}",
            HEX,
            f"sha256:{HEX};x",
            f"%ff{HEX}",
            "sha256:" + "%" * 64,
            "sha256:" + "0" * 5000,
        ]
    ),
    st.text("sha256:0123456789abcdefABCDEF%./\\~", max_size=80),
    st.text(max_size=80).map(quote),
)


@FUZZ
@given(DIGESTS)
def send_digest(stack: LiveStack, tenant: Tenant, digest: str) -> None:
    for method in ("PUT", "GET", "HEAD"):
        for path in (f"/artifacts/{digest}", f"/download/{digest}", f"/artifacts/{digest}/describe"):
            body = b"some content" if method == "PUT" else b""
            fields = f"Content-Length: {len(body)}\r\n".encode()
            status, _, answer = exchange(stack, request(tenant, method, path.encode(), fields, body))
            # 411: "/artifacts/." is not "/artifacts/"; what an empty digest asks for is the collection.
            assert status in {400, 403, 404, 405, 414}, (method, path, answer)


def test_what_is_no_digest_is_refused_and_leads_nowhere(stack: LiveStack, tenant: Tenant) -> None:
    before = {path for path in files_in(stack.folder) if "artifacts" in path.parts}
    send_digest(stack, tenant)
    assert {path for path in files_in(stack.folder) if "artifacts" in path.parts} == before


RANGES = st.one_of(
    st.binary(max_size=30).map(lambda raw: re.sub(rb"[\r\n\0]", b"", raw)),
    st.lists(st.sampled_from([b"bytes", b"=", b"-", b",", b" ", b"0", b"5", b"12", b"-1", b"9" * 30]), max_size=8).map(
        b"".join
    ),
)


@FUZZ
@given(RANGES)
def send_range(stack: LiveStack, tenant: Tenant, asked: bytes) -> None:
    content = b"some content"
    target = f"/artifacts/{digest_of(content)}".encode()
    status, headers, body = exchange(stack, request(tenant, "GET", target, b"Range: " + asked + b"\r\n"))
    assert status in {200, 206, 400, 416}, body
    if status == 200:
        assert body == content
    if status == 206:
        match = re.fullmatch(r"bytes (\d+)-(\d+)/12", headers["Content-Range"])
        assert match
        assert body == content[int(match[1]) : int(match[2]) + 1]


def test_range_gets_what_it_says_or_all_or_nothing(stack: LiveStack, tenant: Tenant) -> None:
    tenant.put(b"some content")
    send_range(stack, tenant)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0" * 100,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50,  # TLS
        b"GET /artifacts/\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        b"GET http://169.254.169.254/artifacts/x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        b"GET /artifacts/x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAuthorization: Bearer "
        + b"a" * 1_000_000
        + b"\r\n\r\n",
        b"GET /artifacts/x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        b"PUT /artifacts/x HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"PUT /artifacts/x HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
    ],
    ids=lambda raw: repr(raw[:20]),
)
def test_what_is_hardly_a_request_is_refused_and_the_server_lives(stack: LiveStack, raw: bytes) -> None:
    status, _, _ = exchange(stack, raw, is_all=False)
    assert status == 0 or 400 <= status < 500
    assert requests.get(f"{stack.url}/livez", timeout=SECONDS).ok


@pytest.fixture
def limited(tmp_path: Path) -> "LiveStack":
    """A web server that may write no file larger than 4 MiB."""
    stack = LiveStack(tmp_path / "limited", None)
    stack.prepare()
    stack.limit_files("web", 8192)
    return stack


def test_file_that_may_not_grow_is_a_full_storage_and_the_server_lives(limited: LiveStack) -> None:
    """RLIMIT_FSIZE: a real write fails half-way through a real upload."""
    tenant = Tenant(limited)
    limited.start("web")
    try:
        content = os.urandom(6 * 1024**2)
        for _ in range(2):
            answer = tenant.put(content)
            assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
        assert limited.incoming() == []
        assert not limited.path_of(content).exists()
        assert tenant.put(content[: 1024**2]).status_code == 201
        assert tenant.get(content[: 1024**2]).content == content[: 1024**2]
    finally:
        limited.stop()
