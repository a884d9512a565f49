"""Resumable uploads through the real web server, with tuspy and with clients that break off."""

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

from artifacts.digests import BLOCK_SIZE
from artifacts.tokens import UPLOADER
from artifacts.tus import CONTENT_TYPE
from tests.factories import digest_of
from tests.functional.stack import SECONDS, LiveStack, RawRequest, Tenant
from tests.servers import wait_until

MIB = 1024**2


@pytest.fixture
def content() -> bytes:
    return os.urandom(5 * MIB + 12_345)


def tus_client(tenant: Tenant) -> TusClient:
    return TusClient(f"{tenant.stack.url}/uploads/", headers=tenant.headers(UPLOADER))


def uploader(tenant: Tenant, content: bytes, **options: Any) -> Any:
    """tuspy's; half of its attributes are typed as None."""
    return tus_client(tenant).uploader(file_stream=io.BytesIO(content), **options)


def open_patch(tenant: Tenant, address: str, offset: int, length: int, **headers: str) -> RawRequest:
    """Send a PATCH's head, and leave its body to the test."""
    return tenant.open_upload(
        "/" + address.split("/", 3)[-1],
        "PATCH",
        Tus_Resumable="1.0.0",
        Upload_Offset=str(offset),
        Content_Length=str(length),
        Content_Type=CONTENT_TYPE,
        **headers,
    )


def head(tenant: Tenant, address: str) -> requests.Response:
    headers = {**tenant.headers(UPLOADER), "Tus-Resumable": "1.0.0"}
    return requests.head(address, headers=headers, timeout=SECONDS)


def patch(tenant: Tenant, address: str, offset: int, body: bytes) -> requests.Response:
    headers = {
        **tenant.headers(UPLOADER),
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": str(offset),
        "Content-Type": CONTENT_TYPE,
    }
    return requests.patch(address, body, headers=headers, timeout=SECONDS)


def partial_of(stack: LiveStack, address: str) -> Path:
    return stack.root / ".incoming" / f"{address.rsplit('/', 1)[-1]}.partial"


def check_stored_once(tenant: Tenant, content: bytes, *, skipped: bool = False) -> None:
    """It comes down as it went up, and the trail and the stream have one upload of it."""
    assert tenant.get(content).content == content
    rows = tenant.wait_for_published(2)
    assert [(row["action"], bool(row["skipped"])) for row in rows] == [
        ("CASArtifactUploaded", skipped),
        ("CASArtifactDownloaded", False),
    ]
    infos = [message["event"]["Data"]["Info"] for message in tenant.stack.stream(tenant.organization)]
    assert [(info["digest"], info["size_bytes"]) for info in infos] == [(digest_of(content).hex, len(content))] * 2
    assert not tenant.stack.incoming()


@pytest.mark.parametrize("chunk_size", [MIB, 10 * MIB])
def test_tuspy_uploads_in_chunks_and_in_one(tenant: Tenant, content: bytes, chunk_size: int) -> None:
    name = "ünïcode & <tags>.txt"
    upload = uploader(
        tenant, content, chunk_size=chunk_size, metadata={"filename": name, "digest": str(digest_of(content))}
    )
    upload.upload()
    assert upload.request.response_headers["content-location"] == f"/artifacts/{digest_of(content)}"
    check_stored_once(tenant, content)
    assert tenant.rows()[0]["file_name"] == name


def test_tuspy_uploads_nothing_at_all(tenant: Tenant) -> None:
    uploader(tenant, b"").upload()
    assert [row["size_bytes"] for row in tenant.wait_for_published(1)] == [0]


def test_tuspy_learns_that_the_artifact_is_there(tenant: Tenant, stack: LiveStack, content: bytes) -> None:
    Tenant(stack).put(content)
    upload = uploader(tenant, content, chunk_size=MIB, metadata={"digest": str(digest_of(content))})
    upload.upload()
    assert upload.offset == len(content)
    assert [row["skipped"] for row in tenant.wait_for_published(1)] == [1]


def test_tuspy_that_asks_first_sends_no_byte_of_what_is_there(tenant: Tenant, stack: LiveStack, content: bytes) -> None:
    Tenant(stack).put(content)
    upload = uploader(tenant, content, metadata={"digest": str(digest_of(content))})
    upload.set_url(upload.create_url())
    upload.offset = upload.get_offset()
    upload.upload()
    assert upload.request is None
    assert [row["skipped"] for row in tenant.wait_for_published(1)] == [1]


def test_patch_of_what_is_there_that_expects_continue_sends_no_body(
    tenant: Tenant, stack: LiveStack, content: bytes
) -> None:
    Tenant(stack).put(content)
    address = uploader(tenant, content, metadata={"digest": str(digest_of(content))}).create_url()
    with open_patch(tenant, address, 0, len(content), Expect="100-continue") as request:
        answer = request.answer()
    assert (answer.status, answer.headers["Upload-Offset"]) == (204, str(len(content)))


def test_killed_server_costs_at_most_a_block(tenant: Tenant, stack: LiveStack, content: bytes) -> None:
    upload = uploader(tenant, content)
    address = upload.create_url()
    sent = 3 * MIB + 100_000
    with open_patch(tenant, address, 0, len(content)) as request:
        request.send(content[:sent])
        wait_until(
            lambda: (
                partial_of(stack, address).exists() and partial_of(stack, address).stat().st_size > sent - BLOCK_SIZE
            ),
            what="all blocks that are whole are kept",
        )
        stack.kill("web")
    stack.start("web")
    kept = int(head(tenant, address).headers["Upload-Offset"])
    assert sent - BLOCK_SIZE < kept <= sent
    resumed = uploader(tenant, content, url=address)
    assert resumed.offset == kept
    resumed.upload()
    check_stored_once(tenant, content)


def test_server_killed_again_and_again_ends_with_the_whole(tenant: Tenant, stack: LiveStack) -> None:
    content = os.urandom(24 * MIB)
    address = uploader(tenant, content).create_url()
    offset = 0
    for _ in range(3):
        with open_patch(tenant, address, offset, len(content) - offset) as request:
            request.send(content[offset : offset + 5 * MIB])
            stack.kill("web")  # wherever it may be
        stack.start("web")
        reached = int(head(tenant, address).headers["Upload-Offset"])
        assert offset <= reached <= offset + 5 * MIB
        offset = reached
    uploader(tenant, content, url=address).upload()
    check_stored_once(tenant, content)


def test_client_that_leaves_loses_nothing_that_arrived(tenant: Tenant, stack: LiveStack, content: bytes) -> None:
    address = uploader(tenant, content).create_url()
    sent = 2 * MIB + 54_321
    with open_patch(tenant, address, 0, len(content)) as request:
        request.send(content[:sent])
        request.leave()
    wait_until(lambda: head(tenant, address).headers["Upload-Offset"] == str(sent), what="all that was sent is kept")
    uploader(tenant, content, url=address).upload()
    check_stored_once(tenant, content)


def test_stalled_patch_does_not_block_a_resume(tenant: Tenant, stack: LiveStack, content: bytes) -> None:
    address = uploader(tenant, content).create_url()
    with open_patch(tenant, address, 0, len(content)) as stalled:
        stalled.send(content[: MIB + 1000])
        wait_until(lambda: head(tenant, address).headers["Upload-Offset"] == str(MIB), what="whole blocks are kept")
        uploader(tenant, content, url=address).upload()
        check_stored_once(tenant, content)
        stalled.leave()
    wait_until(lambda: not stack.incoming(), what="the late writer left nothing")
    assert stack.path_of(content).stat().st_size == len(content)


def test_patches_at_once_have_one_winner_and_one_event(tenant: Tenant, content: bytes) -> None:
    address = uploader(tenant, content).create_url()
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: patch(tenant, address, 0, content), range(6)))
    statuses = sorted(answer.status_code for answer in answers)
    assert set(statuses) <= {204, 409}
    offset = int(head(tenant, address).headers["Upload-Offset"])
    if offset < len(content):  # each of them lost a block to another
        assert patch(tenant, address, offset, content[offset:]).status_code == 204
    check_stored_once(tenant, content)


def test_requests_that_race_to_finish_make_one_event(tenant: Tenant, stack: LiveStack) -> None:
    content = os.urandom(64 * MIB)
    address = uploader(tenant, content).create_url()
    partial = partial_of(stack, address)
    partial.parent.mkdir(exist_ok=True)
    partial.write_bytes(content)  # as if a server had been killed just before the end
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(patch, tenant, address, len(content), b"") for _ in range(6)]
        heads = [pool.submit(head, tenant, address) for _ in range(2)]
    results = {answer.result().headers["Content-Location"] for answer in [*answers, *heads]}
    assert results == {f"/artifacts/{digest_of(content)}"}
    check_stored_once(tenant, content)


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.15])
def test_server_killed_while_it_finishes_makes_one_artifact(tenant: Tenant, stack: LiveStack, delay: float) -> None:
    content = os.urandom(96 * MIB)
    address = uploader(tenant, content).create_url()
    partial = partial_of(stack, address)
    partial.parent.mkdir(exist_ok=True)
    partial.write_bytes(content)
    with open_patch(tenant, address, len(content), 0):
        threading.Event().wait(delay)
        stack.kill("web")
    stack.start("web")
    answer = head(tenant, address)
    assert answer.headers["Content-Location"] == f"/artifacts/{digest_of(content)}"
    rows = [row for row in tenant.rows() if row["action"] == "CASArtifactUploaded"]
    assert len(rows) == 1
    assert tenant.get(content).content == content


def test_other_tenants_do_not_find_it(tenant: Tenant, stack: LiveStack, content: bytes) -> None:
    address = uploader(tenant, content).create_url()
    assert head(Tenant(stack), address).status_code == 404
    with pytest.raises(TusCommunicationError):
        uploader(Tenant(stack), content, url=address)


def test_memory_does_not_grow_with_the_upload(tenant: Tenant, stack: LiveStack) -> None:
    uploader(tenant, os.urandom(MIB)).upload()
    before = stack.web_memory()
    content = os.urandom(MIB) * 256
    uploader(tenant, content).upload()
    assert stack.web_memory() - before < 32 * MIB
