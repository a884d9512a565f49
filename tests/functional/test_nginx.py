"""The server behind nginx with the configuration that is shipped: deploy/nginx/artifact-cas.conf."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from artifacts.tokens import DOWNLOADER, UPLOADER
from tests.factories import digest_of
from tests.functional.nginx import Nginx
from tests.functional.stack import SECONDS, LiveStack, RawRequest, Tenant
from tests.servers import wait_until

MIB = 1024**2
SHARE = 12  # of 16 slots
PASSWORD = "quite-a-secret"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    """A server set up to be behind a proxy, with one process, so that its slots can be counted."""
    settings = {
        "CAS_BEHIND_PROXY": "true",
        "CAS_SECURE_COOKIES": "true",
        "CAS_WEB_WORKERS": "1",
        "CAS_WEB_THREADS": "24",
        "CAS_MAX_TRANSFERS": "16",
        "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
    }
    stack = LiveStack(tmp_path_factory.mktemp("stack"), None, **settings)
    stack.prepare()
    stack.manage("createsuperuser", "--no-input", "--username", "admin", "--email", "admin@localhost")
    stack.start("web")
    yield stack
    stack.stop()


@pytest.fixture
def impatient(stack: LiveStack, tmp_path: Path) -> Iterator[Nginx]:
    """The same with shorter timeouts, for tests that wait for them."""
    changes = {"client_body_timeout 60s;": "client_body_timeout 4s;", "send_timeout 60s;": "send_timeout 4s;"}
    nginx = Nginx(tmp_path, stack, changes)
    nginx.start()
    yield nginx
    nginx.stop()


@pytest.fixture
def session(nginx: Nginx) -> Iterator[requests.Session]:
    """A client that trusts the test's certificate."""
    with requests.Session() as session:
        session.trust_env = False  # a bundle that the environment names goes before ours, else
        session.verify = str(nginx.certificate)
        yield session


def address(nginx: Nginx, content: bytes) -> str:
    return f"{nginx.url}/artifacts/{digest_of(content)}"


def put(session: requests.Session, nginx: Nginx, tenant: Tenant, content: bytes) -> requests.Response:
    return session.put(address(nginx, content), content, headers=tenant.headers(UPLOADER), timeout=SECONDS)


def get(session: requests.Session, nginx: Nginx, tenant: Tenant, content: bytes, **headers: str) -> requests.Response:
    headers |= tenant.headers(DOWNLOADER)
    return session.get(address(nginx, content), headers=headers, timeout=SECONDS)


def open_upload(nginx: Nginx, tenant: Tenant, content: bytes, **headers: str) -> RawRequest:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return nginx.request(f"PUT /artifacts/{digest_of(content)}", {**tenant.headers(UPLOADER), **fields})


def assert_all_slots_are_free(stack: LiveStack) -> None:
    wait_until(lambda: Tenant(stack).admitted() == SHARE, SECONDS, "all slots are free")
    wait_until(lambda: not stack.incoming(), SECONDS, "the temp files are gone")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 MiB."""
    path = tmp_path_factory.mktemp("large") / "file"
    with path.open("wb") as file:
        for _ in range(300):
            file.write(os.urandom(MIB))
    return path


def upload_file(session: requests.Session, nginx: Nginx, tenant: Tenant, path: Path) -> requests.Response:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        url = f"{nginx.url}/artifacts/sha256:{digest}"
        return session.put(url, file, headers=tenant.headers(UPLOADER), timeout=10 * SECONDS)


def test_nginx_takes_the_configuration_without_a_warning(nginx: Nginx) -> None:
    said = nginx.check()
    assert "syntax is ok" in said
    assert "[warn]" not in said


def test_large_artifact_goes_both_ways_and_never_onto_nginxs_disk(
    stack: LiveStack, nginx: Nginx, session: requests.Session, tenant: Tenant, large: Path
) -> None:
    stored = upload_file(session, nginx, tenant, large)
    assert stored.status_code == 201
    url = f"{nginx.url}{stored.headers['Location']}"
    received = hashlib.sha256()
    with session.get(url, headers=tenant.headers(DOWNLOADER), stream=True, timeout=SECONDS) as answer:
        assert answer.headers["Content-Length"] == str(large.stat().st_size)
        assert "Content-Encoding" not in answer.headers
        for block in answer.iter_content(MIB):
            received.update(block)
    assert f"sha256:{received.hexdigest()}" == stored.json()["digest"]
    assert nginx.spooled() == []


def test_what_nginx_puts_on_disk_would_be_seen(
    stack: LiveStack, session: requests.Session, tenant: Tenant, tmp_path: Path
) -> None:
    buffering = Nginx(tmp_path, stack, {"proxy_request_buffering off;": ""})
    buffering.start()
    session.verify = str(buffering.certificate)
    try:
        assert put(session, buffering, tenant, os.urandom(2 * MIB)).status_code == 201
        assert buffering.spooled() != []
    finally:
        buffering.stop()


def test_ranges_heads_and_conditions_pass(
    nginx: Nginx, session: requests.Session, tenant: Tenant, content: bytes
) -> None:
    assert put(session, nginx, tenant, content).status_code == 201
    part = get(session, nginx, tenant, content, Range="bytes=100-299")
    assert (part.status_code, part.content) == (206, content[100:300])
    assert part.headers["Content-Range"] == f"bytes 100-299/{len(content)}"
    head = session.head(address(nginx, content), headers=tenant.headers(UPLOADER), timeout=SECONDS)
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(content)))
    assert head.headers["Repr-Digest"]
    assert head.headers["Strict-Transport-Security"]
    kept = get(session, nginx, tenant, content, **{"If-None-Match": head.headers["ETag"]})
    assert kept.status_code == 304


def test_chunked_put_passes(nginx: Nginx, session: requests.Session, tenant: Tenant, content: bytes) -> None:
    with open_upload(nginx, tenant, content, Transfer_Encoding="chunked") as upload:
        for start in range(0, len(content), 300_000):
            upload.send_chunk(content[start : start + 300_000])
        upload.send_chunk(b"")
        assert upload.answer().status == 201
    assert get(session, nginx, tenant, content).content == content


def test_cut_off_chunked_put_leaves_nothing(stack: LiveStack, nginx: Nginx, tenant: Tenant, content: bytes) -> None:
    with open_upload(nginx, tenant, content, Transfer_Encoding="chunked") as upload:
        upload.send_chunk(content[:500_000])
        wait_until(stack.incoming, what="the upload has begun")
    wait_until(lambda: not stack.incoming(), SECONDS, "the temp file is gone")
    assert not stack.path_of(content).exists()
    assert tenant.rows() == []


def test_errors_of_the_server_pass(
    stack: LiveStack, nginx: Nginx, session: requests.Session, tenant: Tenant, content: bytes
) -> None:
    def codes(answer: requests.Response) -> tuple[int, str, str]:
        return answer.status_code, answer.json()["code"], answer.headers["Content-Type"]

    problem = "application/problem+json"
    assert codes(get(session, nginx, tenant, content)) == (404, "artifact_not_found", problem)
    without_token = session.get(address(nginx, content), timeout=SECONDS)
    assert codes(without_token) == (401, "invalid_token", problem)
    assert without_token.headers["WWW-Authenticate"]
    url, headers = address(nginx, b"something else"), tenant.headers(UPLOADER)
    assert codes(session.put(url, content, headers=headers, timeout=SECONDS)) == (422, "digest_mismatch", problem)
    put(session, nginx, tenant, b"small")
    stack.path_of(b"small").write_bytes(b"wrong")
    assert codes(get(session, nginx, tenant, b"small")) == (502, "artifact_corrupt", problem)


@pytest.mark.parametrize("path", ["/artifacts", "/artifacts/", "/uploads", "/uploads/"])
def test_large_upload_passes_with_and_without_a_slash(
    nginx: Nginx, session: requests.Session, tenant: Tenant, path: str
) -> None:
    content = os.urandom(4 * MIB)
    headers = tenant.headers(UPLOADER)
    if path.startswith("/uploads"):
        headers |= {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(content))}
        headers["Content-Type"] = "application/offset+octet-stream"
    before = len(nginx.spooled())
    answer = session.post(f"{nginx.url}{path}", content, headers=headers, timeout=SECONDS)
    assert answer.status_code == 201, answer.text
    assert get(session, nginx, tenant, content).content == content
    assert len(nginx.spooled()) == before


@pytest.mark.parametrize("size", [1000, 100 * MIB])
def test_refused_upload_of_an_eager_client_gets_its_answer(
    stack: LiveStack, nginx: Nginx, session: requests.Session, size: int
) -> None:
    limited = Tenant(stack, claims={"maxbytes": 10})
    answer = put(session, nginx, limited, bytes(size))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_upload_without_a_slot_is_told_to_come_back(
    stack: LiveStack, nginx: Nginx, session: requests.Session, tenant: Tenant
) -> None:
    stalled = [tenant.stall_upload() for _ in range(SHARE)]
    assert all(is_taken for _, is_taken in stalled)
    for content in [b"small", bytes(32 * MIB)]:
        answer = put(session, nginx, tenant, content)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert answer.json()["code"] == "unavailable"
    for upload, _ in stalled:
        upload.leave()
    assert_all_slots_are_free(stack)


def test_repeated_put_is_skipped(nginx: Nginx, session: requests.Session, tenant: Tenant) -> None:
    content = os.urandom(32 * MIB)  # more than the buffers on the way hold
    assert put(session, nginx, tenant, content).status_code == 201
    again = put(session, nginx, tenant, content)
    assert (again.status_code, again.json()["skipped"]) == (200, True)


def test_nginx_itself_says_continue_so_that_a_repeated_put_is_sent(
    nginx: Nginx, session: requests.Session, tenant: Tenant, content: bytes
) -> None:
    put(session, nginx, tenant, content)
    length = {"Content-Length": str(len(content)), "Expect": "100-continue"}
    with open_upload(nginx, tenant, content, **length) as upload:
        assert upload.receive(4096).startswith(b"HTTP/1.1 100 Continue")  # the server would have said 200
        upload.send(content)
        assert b'"skipped":true' in upload.answer().read()


def test_head_tells_an_uploader_what_need_not_be_sent(
    nginx: Nginx, session: requests.Session, tenant: Tenant, content: bytes
) -> None:
    def head() -> int:
        headers = tenant.headers(UPLOADER)
        return session.head(address(nginx, content), headers=headers, timeout=SECONDS).status_code

    assert head() == 404
    put(session, nginx, tenant, content)
    assert head() == 200


def test_stalled_upload_is_cut_and_leaves_nothing(
    stack: LiveStack, impatient: Nginx, tenant: Tenant, content: bytes
) -> None:
    with open_upload(impatient, tenant, content, Content_Length=str(len(content))) as upload:
        upload.send(content[:-1])
        wait_until(stack.incoming, what="the upload has begun")
        assert Tenant(stack).admitted() == SHARE
        # The client does not hang up; nginx does.
        wait_until(lambda: not stack.incoming(), SECONDS, "the server gave the upload up")
        assert_all_slots_are_free(stack)
    assert not stack.path_of(content).exists()
    assert tenant.rows() == []


def test_as_many_stalled_uploads_as_there_are_slots_are_cut(
    stack: LiveStack, impatient: Nginx, session: requests.Session, tenant: Tenant
) -> None:
    content = os.urandom(1000)
    stalled = [open_upload(impatient, tenant, content, Content_Length="1000") for _ in range(SHARE)]
    for upload in stalled:
        upload.send(b"some bytes")
    session.verify = str(impatient.certificate)
    wait_until(lambda: put(session, impatient, tenant, content).status_code in {200, 201}, SECONDS, "a slot is free")
    assert_all_slots_are_free(stack)
    for upload in stalled:
        upload.leave()


def test_stalled_download_is_cut(stack: LiveStack, impatient: Nginx, tenant: Tenant) -> None:
    content = os.urandom(64 * MIB)  # more than the buffers on the way hold
    assert tenant.put(content).status_code == 201
    request = f"GET /artifacts/{digest_of(content)}"
    stalled = [impatient.request(request, tenant.headers(DOWNLOADER)) for _ in range(SHARE)]
    for download in stalled:
        assert download.receive(12) == b"HTTP/1.1 200"
    assert_all_slots_are_free(stack)
    for download in stalled:
        download.leave()
    assert [row["action"] for row in tenant.rows()] == ["CASArtifactUploaded"]


def test_client_that_leaves_reaches_the_server(
    stack: LiveStack, nginx: Nginx, session: requests.Session, tenant: Tenant, content: bytes
) -> None:
    with open_upload(nginx, tenant, content, Content_Length=str(len(content))) as upload:
        upload.send(content[:-1])
        wait_until(stack.incoming, what="the upload has begun")
    wait_until(lambda: not stack.incoming(), SECONDS, "the server gave the upload up")
    assert not stack.path_of(content).exists()

    large = os.urandom(64 * MIB)
    assert put(session, nginx, tenant, large).status_code == 201
    for _ in range(SHARE):
        with nginx.request(f"GET /artifacts/{digest_of(large)}", tenant.headers(DOWNLOADER)) as download:
            assert download.receive(12) == b"HTTP/1.1 200"
    assert_all_slots_are_free(stack)
    assert [row["action"] for row in tenant.rows()] == ["CASArtifactUploaded"]


def test_token_of_a_link_reaches_no_log(
    stack: LiveStack, nginx: Nginx, session: requests.Session, tenant: Tenant, content: bytes
) -> None:
    put(session, nginx, tenant, content)
    token = tenant.headers(DOWNLOADER)["Authorization"].removeprefix("Bearer ")
    url = f"{nginx.url}/download/{digest_of(content)}?t={token}"
    assert session.get(url, timeout=SECONDS).content == content
    session.get(f"{nginx.url}/admin/login/", headers={"Referer": url}, timeout=SECONDS)
    plain = url.replace(nginx.url, f"http://localhost:{nginx.plain_port}")
    assert session.get(plain, allow_redirects=False, timeout=SECONDS).status_code == 308
    stack.kill("web")
    try:
        assert session.get(url, timeout=SECONDS).status_code == 503
    finally:
        stack.start("web")
    wait_until(lambda: f'"GET /download/{digest_of(content)}" 503' in nginx.logs(), SECONDS, "nginx wrote its log")
    assert nginx.logs().count(f'"GET /download/{digest_of(content)}"') == 3
    assert token not in nginx.logs()
    assert token not in stack.log("web")


def test_server_that_is_away_is_a_problem_document(
    stack: LiveStack, nginx: Nginx, session: requests.Session, tenant: Tenant, content: bytes
) -> None:
    stack.kill("web")
    try:
        answers = [get(session, nginx, tenant, content), put(session, nginx, tenant, content)]
    finally:
        stack.start("web")
    for answer in answers:
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["code"] == "unavailable"


def test_admin_logs_in_over_https_alone(nginx: Nginx, session: requests.Session) -> None:
    url = f"{nginx.url}/admin/login/"
    page = session.get(url, timeout=SECONDS).text
    csrf = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert csrf
    form = {"csrfmiddlewaretoken": csrf.group(1), "username": "admin", "password": PASSWORD, "next": "/admin/"}
    # As a browser does; that it is HTTPS, the server knows of nginx alone.
    headers = {"Origin": nginx.url, "Referer": url, "X-Forwarded-Proto": "http"}
    answer = session.post(url, form, headers=headers, timeout=SECONDS, allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/")
    assert all(cookie.secure for cookie in session.cookies)
    assert session.get(f"{nginx.url}/admin/", timeout=SECONDS).status_code == 200


def test_one_client_cannot_hold_all_of_nginx(
    stack: LiveStack, session: requests.Session, tenant: Tenant, tmp_path: Path
) -> None:
    nginx = Nginx(tmp_path, stack, {"limit_conn artifact_cas 64;": "limit_conn artifact_cas 2;"})
    nginx.start()
    session.verify = str(nginx.certificate)
    try:
        stalled = [open_upload(nginx, tenant, b"never sent", Content_Length="10") for _ in range(2)]
        wait_until(lambda: get(session, nginx, tenant, b"none").status_code == 503, SECONDS, "both hold their places")
        assert get(session, nginx, tenant, b"none").json()["code"] == "unavailable"
        assert session.get(f"{nginx.url}/livez", timeout=SECONDS).status_code == 200
        for upload in stalled:
            upload.leave()
        wait_until(lambda: get(session, nginx, tenant, b"none").status_code == 404, SECONDS, "they are free")
    finally:
        nginx.stop()
