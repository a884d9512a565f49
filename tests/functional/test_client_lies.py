"""The client and servers that lie, fail, or are something else: nothing wrong is believed, kept or run."""

import hashlib
import json
import os
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from artifact_cas_client import (
    BadAnswer,
    Cancelled,
    Client,
    ConnectionFailed,
    DigestMismatch,
    ServerError,
    Unavailable,
    exchange,
    retrying,
)
from artifact_cas_client.exit_codes import exit_code
from artifact_cas_client.file_names import safe_name
from artifact_cas_client.placed import Placed
from artifact_cas_client.resume_cache import ResumeCache
from artifact_cas_client.retrying import Backoff
from tests.functional.cas_command import answer_with, lying_server
from tests.functional.stack import SECONDS
from tests.functional.test_client import write
from tests.servers import wait_until

CONTENT = bytes(range(256)) * 4000
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
OTHER = f"sha256:{hashlib.sha256(b'other').hexdigest()}"


def confirm(handler: BaseHTTPRequestHandler, digest: str = DIGEST, *, skipped: bool = False) -> None:
    """The server's answer to an upload."""
    body = {"digest": digest, "size_bytes": len(CONTENT), "file_name": "", "skipped": skipped}
    answer_with(handler, 201, json.dumps(body).encode())


def read_body(handler: BaseHTTPRequestHandler) -> bytes:
    return handler.rfile.read(int(handler.headers["Content-Length"]))


def refuse(handler: BaseHTTPRequestHandler, status: int, code: str, **headers: str) -> None:
    problem = {"status": status, "code": code, "detail": "No."}
    answer_with(handler, status, json.dumps(problem).encode(), Content_Type="application/problem+json", **headers)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "file", CONTENT)


@pytest.mark.parametrize(
    "wrong",
    [CONTENT[:-1] + b"!", CONTENT[:-1], CONTENT + b"!", b""],
    ids=["changed", "shorter", "longer", "nothing"],
)
def test_other_bytes_are_not_kept(tmp_path: Path, wrong: bytes) -> None:
    with lying_server(lambda handler: answer_with(handler, 200, wrong)) as (url, _):
        client = Client(url, "token")
        with pytest.raises(DigestMismatch):
            client.download(DIGEST, tmp_path / "name")
        with pytest.raises(DigestMismatch), client.open(DIGEST) as artifact:
            artifact.read()
    assert list(tmp_path.iterdir()) == []


def test_other_bytes_after_a_resumed_part_are_fetched_once_more(tmp_path: Path) -> None:
    write(tmp_path / f".cas-{DIGEST.removeprefix('sha256:')}.part", b"an earlier lie")
    with lying_server(lambda handler: answer_with(handler, 200, CONTENT)) as (url, requests):
        Client(url, "token").download(DIGEST, tmp_path / "name")
        assert len(requests) == 2
    assert (tmp_path / "name").read_bytes() == CONTENT


def test_a_whole_part_whose_name_is_given_asks_nobody(tmp_path: Path) -> None:
    write(tmp_path / f".cas-{DIGEST.removeprefix('sha256:')}.part", CONTENT)
    with lying_server(lambda handler: answer_with(handler, 500)) as (url, requests):
        Client(url, "token").download(DIGEST, tmp_path / "name")
        assert requests == []
    assert (tmp_path / "name").read_bytes() == CONTENT


def test_the_name_of_a_whole_part_is_asked_for_again(tmp_path: Path) -> None:
    write(tmp_path / f".cas-{DIGEST.removeprefix('sha256:')}.part", CONTENT)
    failures = [503, 502]

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if failures:
            answer_with(handler, failures.pop(), Retry_After="0")
        else:
            answer_with(handler, 200, Content_Disposition='attachment; filename="name"')

    with lying_server(answer) as (url, requests):
        assert Client(url, "token").download(DIGEST, tmp_path).path == tmp_path / "name"
        assert requests == [f"HEAD /artifacts/{DIGEST}"] * 3
    assert (tmp_path / "name").read_bytes() == CONTENT


def test_a_server_that_knows_no_ranges_sends_all_again(tmp_path: Path) -> None:
    bodies = [CONTENT[:300_000], CONTENT]

    def answer(handler: BaseHTTPRequestHandler) -> None:
        answer_with(handler, 200, bodies.pop(0), Content_Length=str(len(CONTENT)))

    with lying_server(answer) as (url, requests):
        Client(url, "token").download(DIGEST, tmp_path / "name")
        assert len(requests) == 2
    assert (tmp_path / "name").read_bytes() == CONTENT


def test_another_range_than_was_asked_for_is_not_taken(tmp_path: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if "Range" in handler.headers:
            answer_with(handler, 206, CONTENT[5:], Content_Range=f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}")
        else:
            answer_with(handler, 200, CONTENT[:300_000], Content_Length=str(len(CONTENT)))

    with lying_server(answer) as (url, _), pytest.raises(BadAnswer):
        Client(url, "token").download(DIGEST, tmp_path / "name")


def test_unavailable_is_tried_again_when_the_server_says(file: Path) -> None:
    refusals = [503, 503]

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if refusals:
            return refuse(handler, refusals.pop(), "unavailable", Retry_After="0")
        handler.send_response_only(100)
        handler.end_headers()
        assert read_body(handler) == CONTENT
        return confirm(handler)

    with lying_server(answer) as (url, requests):
        assert Client(url, "token").upload(file).digest == DIGEST
        assert requests == [f"PUT /artifacts/{DIGEST}?filename=file"] * 3


class Impatient(threading.Event):
    """Remembers how long it was to wait, and does not."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout)
        return self.is_set()


def test_the_wait_is_as_long_as_the_server_says_or_longer_each_time() -> None:
    event = Impatient()
    backoff = Backoff(3, event)
    error = Unavailable(503, "unavailable", "No.", retry_after=17)
    for _ in range(3):
        backoff.wait(error)
    with pytest.raises(Unavailable):
        backoff.wait(error)
    assert event.waited == [17, 17, 17]
    backoff.reset()
    event.waited.clear()
    for _ in range(3):
        backoff.wait(ConnectionFailed("No."))
    first, second, third = (seconds or 0 for seconds in event.waited)
    assert 0 < first < second < third


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 429, 500, 507])
def test_a_refusal_is_not_tried_again(file: Path, status: int) -> None:
    with lying_server(lambda handler: refuse(handler, status, "some_code", Retry_After="0")) as (url, requests):
        with pytest.raises(ServerError) as refused:
            Client(url, "token").upload(file)
        assert len(requests) == 1
    assert (refused.value.status, refused.value.code, refused.value.detail) == (status, "some_code", "No.")


def test_a_redirect_is_not_followed(file: Path) -> None:
    with lying_server(lambda handler: answer_with(handler, 308, Location="https://elsewhere.example/")) as (
        url,
        requests,
    ):
        with pytest.raises(BadAnswer, match=r"308: https://elsewhere\.example/"):
            Client(url, "token").upload(file)
        assert len(requests) == 1


@pytest.mark.parametrize(
    ("body", "complaint"), [(b"<html>", "without JSON"), (b"[]", "another kind"), (b"{}", "another upload")]
)
def test_an_answer_of_something_else_is_no_confirmation(file: Path, body: bytes, complaint: str) -> None:
    with (
        lying_server(lambda handler: answer_with(handler, 201, body)) as (url, _),
        pytest.raises(BadAnswer, match=complaint),
    ):
        Client(url, "token").upload(file)


def test_a_confirmation_of_another_digest_is_none(file: Path) -> None:
    with lying_server(lambda handler: confirm(handler, OTHER)) as (url, _), pytest.raises(BadAnswer):
        Client(url, "token").upload(file)


def test_a_client_remembers_no_upload_that_has_ended(file: Path) -> None:
    with lying_server(confirm) as (url, _):
        client = Client(url, "token")
        copies = [threading.Thread(target=client.upload, args=[file]) for _ in range(3)]
        for copy in copies:
            copy.start()
        for copy in copies:
            copy.join(SECONDS)
    assert not client._turns


def test_an_answer_before_the_body_costs_no_body(file: Path) -> None:
    bodies: list[bytes] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        assert handler.headers["Expect"] == "100-continue"
        confirm(handler, skipped=True)
        bodies.append(handler.rfile.read())

    with lying_server(answer) as (url, _):
        assert Client(url, "token").upload(file).skipped
    wait_until(lambda: bodies)
    assert bodies == [b""]


def test_a_server_that_knows_no_expect_gets_the_body(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "EXPECT_SECONDS", 0.1)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        assert read_body(handler) == CONTENT
        confirm(handler)

    with lying_server(answer) as (url, requests):
        assert not Client(url, "token").upload(file).skipped
        assert len(requests) == 1


def test_transfers_are_under_way_at_once(tmp_path: Path) -> None:
    together = threading.Barrier(3)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        together.wait(SECONDS)
        answer_with(handler, 404)

    with lying_server(answer) as (url, requests):
        client = Client(url, "token")
        threads = [threading.Thread(target=_describe, args=[client]) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
        assert len(requests) == 3
    assert not together.broken


def _describe(client: Client) -> None:
    with pytest.raises(ServerError):
        client.describe(DIGEST)


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ("attachment; filename*=UTF-8''..%2F..%2Fescaped", "escaped"),
        ("attachment; filename*=UTF-8''C%3A%5CWindows%5Cevil.exe", "evil.exe"),
        ('attachment; filename="/absolute"', "absolute"),
        ('attachment; filename=".bashrc"', "bashrc"),
        ('attachment; filename=" .envrc"', "envrc"),
        ("attachment; filename*=UTF-8''%C2%A0.%09.%20.bash_aliases%20", "bash_aliases"),
        ("attachment; filename*=UTF-8''.%E2%80%AE%20.profile", "profile"),
        ('attachment; filename=".."', DIGEST.replace(":", "-")),
        ('attachment; filename="folder/"', DIGEST.replace(":", "-")),
        ("attachment; filename*=UTF-8''a%00b%1B%5B31mc%0D%0Ad", "ab[31mcd"),
        ("attachment; filename*=UTF-8''exe%E2%80%AEtxt.sh", "exetxt.sh"),
        ("attachment; filename*=UTF-8''" + "%C3%BC" * 200, "ü" * 127),
        ("attachment; filename*=UTF-8''gr%C3%BC%C3%9Fe.txt; filename=plain", "grüße.txt"),
        ('attachment; filename="with \\"quotes\\".txt"', 'with "quotes".txt'),
        ("attachment", DIGEST.replace(":", "-")),
    ],
)
def test_a_name_the_server_proposes_stays_in_its_folder(tmp_path: Path, disposition: str, name: str) -> None:
    folder = tmp_path / "down"
    folder.mkdir()
    with lying_server(lambda handler: answer_with(handler, 200, CONTENT, Content_Disposition=disposition)) as (url, _):
        done = Client(url, "token").download(DIGEST, folder)
    assert done.path == folder / name
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["down", f"down/{name}"]


def test_a_name_of_nothing_but_what_is_removed_is_replaced() -> None:
    assert safe_name("...\x00\u202e ", "otherwise") == "otherwise"


def test_a_windows_device_is_none_that_dots_were_before(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as windows:
        windows.setattr(os, "name", "nt")
        names = [safe_name(name, "otherwise") for name in ("con", " .con", ".nul.txt", "a<b. . ", "...")]
    assert names == ["_con", "_con", "_nul.txt", "a_b", "otherwise"]


def test_a_part_file_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    victim = write(tmp_path / "victim", b"precious")
    (tmp_path / f".cas-{DIGEST.removeprefix('sha256:')}.part").symlink_to(victim)
    with (
        lying_server(lambda handler: answer_with(handler, 200, CONTENT)) as (url, _),
        pytest.raises(OSError, match="links"),
    ):
        Client(url, "token").download(DIGEST, tmp_path / "name")
    assert victim.read_bytes() == b"precious"


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        write(tmp_path / "name", b"mine")
        answer_with(handler, 200, CONTENT)

    with lying_server(answer) as (url, _), pytest.raises(FileExistsError):
        Client(url, "token").download(DIGEST, tmp_path / "name")
    assert (tmp_path / "name").read_bytes() == b"mine"


def test_two_artifacts_of_one_name_are_not_one_file(tmp_path: Path) -> None:
    contents = {DIGEST: CONTENT, OTHER: b"other"}

    def answer(handler: BaseHTTPRequestHandler) -> None:
        digest = handler.path.rsplit("/", 1)[-1]
        answer_with(handler, 200, contents[digest], Content_Disposition='attachment; filename="name"')

    with lying_server(answer) as (url, _):
        client = Client(url, "token")
        write(tmp_path / "name", b"mine")
        assert client.download(DIGEST, tmp_path, force=True).path == tmp_path / "name"
        with pytest.raises(FileExistsError, match="another artifact"):
            client.download(OTHER, tmp_path, force=True)
        assert client.download(DIGEST, tmp_path, force=True).path == tmp_path / "name"
        assert [path.name for path in tmp_path.iterdir()] == ["name"]
        assert (tmp_path / "name").read_bytes() == CONTENT
        client.download(OTHER, tmp_path / "name", force=True)  # who names the file knows what becomes of it
        assert (tmp_path / "name").read_bytes() == b"other"


def test_two_artifacts_of_one_name_at_once_are_not_one_file(tmp_path: Path) -> None:
    contents = {DIGEST: CONTENT, OTHER: b"other"}
    together = threading.Barrier(2)
    refused: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        digest = handler.path.rsplit("/", 1)[-1]
        together.wait(SECONDS)
        answer_with(handler, 200, contents[digest], Content_Disposition='attachment; filename="name"')

    def download(client: Client, digest: str) -> None:
        try:
            client.download(digest, tmp_path, force=True)
        except FileExistsError:
            refused.append(digest)

    with lying_server(answer) as (url, _):
        client = Client(url, "token")
        threads = [threading.Thread(target=download, args=[client, digest]) for digest in contents]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
    assert len(refused) == 1
    del contents[refused[0]]
    assert [(tmp_path / "name").read_bytes()] == list(contents.values())


def test_a_name_in_other_letters_is_told_from_it_where_the_file_system_does(tmp_path: Path) -> None:
    placed = Placed()
    with placed.placing(write(tmp_path / "Name", b"1"), DIGEST, is_proposed=True):
        pass
    placed.check(tmp_path / "name", OTHER)
    (tmp_path / "name").hardlink_to(tmp_path / "Name")  # where it does not, these are one file
    with pytest.raises(FileExistsError):
        placed.check(tmp_path / "name", OTHER)


def test_a_silent_server_is_not_waited_for_for_ever() -> None:
    over = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        over.wait(SECONDS)

    with lying_server(answer) as (url, requests):
        with pytest.raises(Exception, match="did not answer in time"):
            Client(url, "token", timeout=0.2, retries=1).describe(DIGEST)
        wait_until(lambda: len(requests) == 2, what="the server has read both")
        over.set()


def test_a_name_that_nobody_resolves_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, over, ended = threading.Event(), threading.Event(), threading.Event()

    def resolve(*_: object, **__: object) -> list[Any]:
        asked.set()
        over.wait(SECONDS)
        return []

    def describe(client: Client) -> None:
        with pytest.raises(Cancelled):
            client.describe(DIGEST)
        ended.set()

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with Client("http://cas.example.com", "token") as client:
        thread = threading.Thread(target=describe, args=[client])
        thread.start()
        assert asked.wait(SECONDS)
    assert ended.wait(5)
    over.set()
    thread.join(SECONDS)


def test_what_is_no_name_of_a_host_has_no_connection() -> None:
    with pytest.raises(ConnectionFailed, match="no name of a host"):
        Client("http://cas..example.com", "token", retries=0).describe(DIGEST)


@pytest.mark.parametrize("size", [10, 60, 100])
def test_a_head_that_is_cut_is_no_answer(tmp_path: Path, size: int) -> None:
    heads = [b"HTTP/1.1 200 OK\r\nServer: someone\r\nX: y\r\nContent-Length: 4\r\nDate: today\r\n" + b"A: b\r\n" * 9]

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if heads:
            handler.wfile.write(heads.pop()[:size])
        else:
            answer_with(handler, 200, CONTENT)

    with lying_server(answer) as (url, requests):
        Client(url, "token").download(DIGEST, tmp_path / "name")
        assert len(requests) == 2
    assert (tmp_path / "name").read_bytes() == CONTENT


def test_a_part_file_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / f".cas-{DIGEST.removeprefix('sha256:')}.part", CONTENT)
    another = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: another)
    with lying_server(lambda handler: answer_with(handler, 200, CONTENT)) as (url, requests):
        with pytest.raises(PermissionError):
            Client(url, "token").download(DIGEST, tmp_path / "name")
        assert requests == []


@pytest.mark.parametrize("ends_at", ["POST", "PATCH", "HEAD"])
@pytest.mark.parametrize("word", ["true", "false", None])
def test_a_resumable_upload_was_there_when_the_server_says_so(
    file: Path, tmp_path: Path, ends_at: str, word: str | None
) -> None:
    finished = {"Upload_Offset": str(len(CONTENT)), "Content_Location": f"/artifacts/{DIGEST}"}
    if word:
        finished["Upload_Skipped"] = word

    def answer(handler: BaseHTTPRequestHandler) -> None:
        headers = {"Location": "/uploads/one", "Upload_Length": str(len(CONTENT))}
        if handler.command == ends_at:
            headers |= finished
        elif handler.command == "PATCH":
            return  # no answer: how it ended is told by the next HEAD
        answer_with(handler, 201 if handler.command == "POST" else 200, b"", **headers)

    with lying_server(answer) as (url, _):
        client = Client(url, "token", resumable_from=1, cache=tmp_path / "cache")
        was_there = client.upload(file).skipped
    # What is finished when it is begun was there, though older servers do not say so.
    assert was_there == (ends_at == "POST" or word == "true")


def test_who_has_no_home_remembers_no_upload(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 9)  # no passwd entry has it

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.command == "POST":
            answer_with(handler, 201, Location="/uploads/one")
        else:
            answer_finished(handler)

    with lying_server(answer) as (url, requests):
        for _ in range(2):
            assert Client(url, "token", resumable_from=1).upload(file).digest == DIGEST
        assert requests == ["POST /uploads/", "PATCH /uploads/one"] * 2


@pytest.fixture
def begun(tmp_path: Path) -> Callable[..., Client]:
    """A client that has begun a resumable upload of CONTENT earlier."""

    def make(url: str, **options: Any) -> Client:
        ResumeCache(tmp_path / "cache").keep(url, DIGEST, "one")
        return Client(url, "token", resumable_from=1, cache=tmp_path / "cache", **options)

    return make


@pytest.mark.parametrize("slow", ["HEAD", "PATCH"])
def test_a_server_that_reads_all_of_an_upload_before_it_answers_is_waited_for(
    file: Path, begun: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    monkeypatch.setattr(exchange, "ANSWER_BYTES_PER_SECOND", len(CONTENT) // 5)
    over = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.command == slow:
            over.wait(1)
            return answer_finished(handler)
        return answer_with(handler, 200, Upload_Offset=str(len(CONTENT) - 1), Upload_Length=str(len(CONTENT)))

    with lying_server(answer) as (url, requests):
        assert begun(url, retries=0, timeout=0.3).upload(file).digest == DIGEST
        assert len(requests) == ["HEAD", "PATCH"].index(slow) + 1


@pytest.mark.parametrize("is_patient", [True, False])
def test_an_upload_that_another_request_finishes_is_waited_for_as_long_as_that_may_take(
    file: Path, begun: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, is_patient: bool
) -> None:
    monkeypatch.setattr(retrying, "FIRST", 0.05)
    if not is_patient:
        monkeypatch.setattr(exchange, "ANSWER_BYTES_PER_SECOND", len(CONTENT) * 100)
    busy = [423] * 20

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if busy:
            answer_with(handler, busy.pop(), Retry_After="0")
        else:
            answer_finished(handler)

    with lying_server(answer) as (url, requests):
        client = begun(url, retries=1, timeout=30 if is_patient else 0.3)
        if is_patient:
            assert client.upload(file).digest == DIGEST
            assert len(requests) == 21
        else:
            with pytest.raises(Unavailable):
                client.upload(file)
            assert len(requests) < 21


def answer_finished(handler: BaseHTTPRequestHandler) -> None:
    """What a server says of a resumable upload that has become the artifact."""
    length = str(len(CONTENT))
    answer_with(handler, 200, Upload_Offset=length, Upload_Length=length, Content_Location=f"/artifacts/{DIGEST}")


def test_a_wrong_digest_that_a_head_tells_of_is_told_as_one(
    file: Path, tmp_path: Path, begun: Callable[..., Client]
) -> None:
    with lying_server(lambda handler: answer_with(handler, 422)) as (url, requests):
        with pytest.raises(ServerError) as refused:
            begun(url).upload(file)
        assert requests == ["HEAD /uploads/one"]
    assert (refused.value.status, refused.value.code) == (422, "digest_mismatch")
    assert exit_code(refused.value) == 7
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_server_that_takes_no_more_of_an_upload_is_given_up(file: Path, tmp_path: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.command == "POST":
            answer_with(handler, 201, Location="/uploads/one")
        else:
            answer_with(handler, 200, Upload_Offset="7", Upload_Length=str(len(CONTENT)))

    with lying_server(answer) as (url, requests):
        with pytest.raises(ConnectionFailed, match="takes no more"):
            Client(url, "token", retries=1, resumable_from=1, cache=tmp_path / "cache").upload(file)
        assert len(requests) == 6
