"""Transfers through the real web server, by clients that are well-behaved and by some that are not."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from artifacts.tokens import DOWNLOADER, UPLOADER
from benchmarks.memory import web_processes
from tests.factories import digest_of
from tests.functional.stack import SECONDS, LiveStack, RawRequest, Tenant
from tests.servers import wait_until

MIB = 1024**2


def test_what_was_put_comes_back(tenant: Tenant, content: bytes) -> None:
    stored = tenant.put(content, "a name with spaces, ünïcode & <tags>.txt")
    assert stored.status_code == 201
    assert stored.json() == {
        "digest": str(digest_of(content)),
        "size_bytes": len(content),
        "file_name": "a name with spaces, ünïcode & <tags>.txt",
        "skipped": False,
    }
    answer = tenant.get(content)
    assert answer.status_code == 200
    assert answer.content == content
    assert answer.headers["Content-Length"] == str(len(content))
    assert "filename*=utf-8''a%20name%20with%20spaces" in answer.headers["Content-Disposition"]


def test_every_answer_says_its_length(stack: LiveStack, tenant: Tenant, content: bytes) -> None:
    answers = [
        tenant.put(content),
        tenant.put(content),
        tenant.get(content),
        tenant.get(b"never stored"),
        tenant.get(content, Range="bytes=999999999-"),
        requests.put(f"{stack.url}/artifacts/{digest_of(content)}", content, timeout=SECONDS),
        requests.get(f"{stack.url}/artifacts/nonsense", headers=tenant.headers(DOWNLOADER), timeout=SECONDS),
        requests.options(f"{stack.url}/uploads/", timeout=SECONDS),
    ]
    assert [answer.status_code for answer in answers] == [201, 200, 200, 404, 416, 401, 400, 204]
    for answer in answers:
        assert "Transfer-Encoding" not in answer.headers
        assert answer.status_code == 204 or answer.headers["Content-Length"] == str(len(answer.content))


def test_empty_artifact_goes_up_and_comes_down(tenant: Tenant, stack: LiveStack) -> None:
    answer = requests.post(f"{stack.url}/artifacts/", b"", headers=tenant.headers(UPLOADER), timeout=SECONDS)
    assert answer.status_code in {200, 201}
    assert answer.json()["size_bytes"] == 0
    assert tenant.put(b"").json()["skipped"] is True
    assert tenant.get(b"").content == b""
    assert [row["size_bytes"] for row in tenant.wait_for_published(3)] == [0, 0, 0]


def test_repeated_put_that_expects_continue_sends_no_body(tenant: Tenant, content: bytes) -> None:
    tenant.put(content)
    path = f"/artifacts/{digest_of(content)}"
    with tenant.open_upload(path, Content_Length=str(len(content)), Expect="100-continue") as upload:
        answer = upload.answer()
        assert answer.status == 200
        assert b'"skipped":true' in answer.read()


def test_new_put_that_expects_continue_is_told_to_continue(tenant: Tenant, content: bytes) -> None:
    path = f"/artifacts/{digest_of(content)}"
    with tenant.open_upload(path, Content_Length=str(len(content)), Expect="100-continue") as upload:
        assert upload.peek(SECONDS).startswith(b"HTTP/1.1 100 Continue")
        upload.send(content)
        assert upload.answer().status == 201


def test_refused_put_that_expects_continue_sends_no_body(tenant: Tenant, stack: LiveStack) -> None:
    limited = Tenant(stack, claims={"maxbytes": 10})
    with limited.open_upload(f"/artifacts/{digest_of(b'x')}", Content_Length="11", Expect="100-continue") as upload:
        assert upload.answer().status == 413


def test_repeated_put_of_an_eager_client_gets_its_answer(tenant: Tenant) -> None:
    content = os.urandom(32 * MIB)  # more than the buffers between client and server hold
    tenant.put(content)
    assert tenant.put(content).json()["skipped"] is True


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nonsense"}])
def test_refused_put_of_an_eager_client_gets_its_answer(stack: LiveStack, headers: dict[str, str]) -> None:
    content = os.urandom(32 * MIB)
    url = f"{stack.url}/artifacts/{digest_of(content)}"
    answer = requests.put(url, content, headers=headers, timeout=SECONDS)
    assert answer.status_code == 401
    assert answer.json()["code"] == "invalid_token"


def test_chunked_put_of_a_known_digest_is_stored(tenant: Tenant, content: bytes) -> None:
    with tenant.open_upload(f"/artifacts/{digest_of(content)}", Transfer_Encoding="chunked") as upload:
        for start in range(0, len(content), 300_000):
            upload.send_chunk(content[start : start + 300_000])
        upload.send_chunk(b"")
        assert upload.answer().status == 201
    assert tenant.get(content).content == content


def test_chunked_post_is_refused(tenant: Tenant) -> None:
    with tenant.open_upload("/artifacts/", "POST", Transfer_Encoding="chunked") as upload:
        upload.send_chunk(b"some bytes")
        upload.send_chunk(b"")
        answer = upload.answer()
        assert answer.status == 411
        assert b"length_required" in answer.read()


def test_cut_off_chunked_put_leaves_nothing(tenant: Tenant, stack: LiveStack, content: bytes) -> None:
    with tenant.open_upload(f"/artifacts/{digest_of(content)}", Transfer_Encoding="chunked") as upload:
        upload.send_chunk(content[:500_000])
        wait_until(stack.incoming, what="the upload has begun")
        upload.leave()
    wait_until(lambda: not stack.incoming(), what="the temp file is gone")
    assert tenant.get(content).status_code == 404
    assert tenant.rows() == []


@pytest.mark.parametrize("sent", [0, 1, 500_000, 999_999])
def test_client_that_leaves_during_an_upload_leaves_nothing(
    tenant: Tenant, stack: LiveStack, content: bytes, sent: int
) -> None:
    path = f"/artifacts/{digest_of(content)}"
    with tenant.open_upload(path, Content_Length=str(len(content))) as upload:
        upload.send(content[:sent])
        wait_until(stack.incoming, what="the upload has begun")
        upload.leave()
    wait_until(lambda: not stack.incoming(), what="the temp file is gone")
    assert not stack.path_of(content).exists()
    assert tenant.rows() == []


def test_wrong_digest_leaves_nothing(tenant: Tenant, stack: LiveStack, content: bytes) -> None:
    url = f"{stack.url}/artifacts/{digest_of(content)}"
    answer = requests.put(url, content[::-1], headers=tenant.headers(UPLOADER), timeout=SECONDS)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == "digest_mismatch"
    assert stack.incoming() == []
    assert not stack.path_of(content).exists()


def test_upload_cannot_be_seen_before_it_is_whole(tenant: Tenant, stack: LiveStack, content: bytes) -> None:
    path = f"/artifacts/{digest_of(content)}"
    with tenant.open_upload(path, Content_Length=str(len(content))) as upload:
        upload.send(content[:-1])
        wait_until(stack.incoming, what="the upload has begun")
        assert tenant.get(content).status_code == 404
        upload.send(content[-1:])
        assert upload.answer().status == 201
    assert tenant.get(content).status_code == 200


def test_twin_uploads_make_one_object_and_one_of_them_is_told(tenant: Tenant, stack: LiveStack) -> None:
    content = os.urandom(4 * MIB)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(tenant.put, [content] * 8))
    assert [answer.status_code for answer in answers].count(201) == 1
    assert [answer.status_code for answer in answers].count(200) == 7
    assert stack.incoming() == []
    rows = tenant.wait_for_published(8)
    assert [row["skipped"] for row in rows].count(0) == 1


def test_client_that_leaves_during_a_download_makes_no_event(tenant: Tenant, stack: LiveStack) -> None:
    content = os.urandom(64 * MIB)  # more than the buffers between server and client hold
    tenant.put(content)
    request = f"GET /artifacts/{digest_of(content)} HTTP/1.1"
    with RawRequest(stack.port, request, {"Host": "127.0.0.1", **tenant.headers(DOWNLOADER)}) as download:
        assert download.receive(1000).startswith(b"HTTP/1.1 200")
        download.leave()
    assert tenant.get(content).content == content  # by now the first one is surely over
    assert [row["action"] for row in tenant.wait_for_published(2)] == ["CASArtifactUploaded", "CASArtifactDownloaded"]


def test_corrupt_artifact_never_completes_and_is_healed_by_the_next_upload(tenant: Tenant, stack: LiveStack) -> None:
    content = os.urandom(4 * MIB)
    tenant.put(content, "precious.bin")
    with stack.path_of(content).open("r+b") as file:
        file.seek(3 * MIB)
        file.write(b"rot")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        tenant.get(content)
    assert tenant.get(content).json()["code"] == "artifact_corrupt"  # now it is known
    healed = tenant.put(content, "precious.bin")
    assert healed.status_code == 201
    assert tenant.get(content).content == content
    actions = [(row["action"], row["skipped"]) for row in tenant.wait_for_published(3)]
    assert actions == [("CASArtifactUploaded", 0), ("CASArtifactUploaded", 0), ("CASArtifactDownloaded", 0)]


def test_small_corrupt_artifact_is_a_clean_error(tenant: Tenant, stack: LiveStack) -> None:
    content = os.urandom(1000)
    tenant.put(content)
    stack.path_of(content).write_bytes(content[::-1])
    answer = tenant.get(content)
    assert answer.status_code == 502
    assert answer.json()["code"] == "artifact_corrupt"


def test_range_is_served_verified_and_counted_as_what_was_handed_over(tenant: Tenant, content: bytes) -> None:
    tenant.put(content)
    answer = tenant.get(content, Range="bytes=100000-899999")
    assert answer.status_code == 206
    assert answer.content == content[100_000:900_000]
    assert answer.headers["Content-Range"] == "bytes 100000-899999/1000000"
    assert tenant.wait_for_published(2)[-1]["size_bytes"] == 800_000


def test_download_link_carries_its_token_in_the_query(tenant: Tenant, stack: LiveStack, content: bytes) -> None:
    tenant.put(content, "stored.bin")
    token = tenant.headers(DOWNLOADER)["Authorization"].removeprefix("Bearer ")
    url = f"{stack.url}/download/{digest_of(content)}"
    answer = requests.get(url, params={"t": token, "filename": "mine.bin"}, timeout=SECONDS)
    assert answer.content == content
    assert answer.headers["Content-Disposition"] == 'attachment; filename="mine.bin"'
    assert token not in stack.log("web")
    assert tenant.wait_for_published(2)[-1]["file_name"] == "mine.bin"


def test_memory_does_not_grow_with_the_artifact(tenant: Tenant, stack: LiveStack) -> None:
    tenant.put(os.urandom(MIB))
    before = stack.web_memory()
    content = os.urandom(MIB) * 256
    assert tenant.put(content).status_code == 201
    assert tenant.get(content).content == content
    assert stack.web_memory() - before < 32 * MIB


def test_killed_server_shows_nothing_of_the_upload_it_was_taking(
    tenant: Tenant, stack: LiveStack, content: bytes
) -> None:
    path = f"/artifacts/{digest_of(content)}"
    with tenant.open_upload(path, Content_Length=str(len(content))) as upload:
        upload.send(content[:-1])
        wait_until(stack.incoming, what="the upload has begun")
        stack.kill("web")
    stack.start("web")
    for leftover in stack.incoming():
        leftover.unlink()  # what a crash leaves is swept by age, not at once
    assert tenant.get(content).status_code == 404
    assert tenant.put(content).status_code == 201
    assert tenant.get(content).content == content


def test_stalled_uploads_do_not_keep_others_out(tenant: Tenant, stack: LiveStack, content: bytes) -> None:
    path = f"/artifacts/{digest_of(b'never sent')}"
    stalled = [tenant.open_upload(path, Content_Length="10") for _ in range(40)]
    started = time.monotonic()
    assert tenant.put(content).status_code == 201
    assert time.monotonic() - started < SECONDS
    for upload in stalled:
        upload.leave()
    wait_until(lambda: not stack.incoming(), what="the temp files are gone")


def test_benchmark_of_memory_finds_the_web_processes(stack: LiveStack) -> None:
    assert sorted(web_processes(stack.port)) == sorted(map(int, stack.processes("web")))
