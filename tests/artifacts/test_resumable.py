"""Google's upload protocol, against scripted answers: fake-gcs-server knows neither conditions nor lost parts."""

import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from artifacts.storage.http import prepare
from artifacts.storage.resumable import ResumableUpload

CHUNK = bytes(range(256)) * 1024  # 256 KiB

Answer = tuple[int, dict[str, str]] | None  # None: the connection ends


class Script(ThreadingHTTPServer):
    """Answers in this order; notes method, Content-Range and the body's length."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[Answer] = []
        self.requests: list[tuple[str, str, int]] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Script

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.command, self.headers.get("Content-Range", ""), len(body)))
        answer = self.server.answers.pop(0)
        if answer is None:
            self.close_connection = True
            return
        status, headers = answer
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    do_PUT = do_DELETE = _answer  # noqa: N815

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    monkeypatch.setattr("time.sleep", lambda _: None)
    server = Script()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def upload(script: Script) -> Iterator[ResumableUpload]:
    with requests.Session() as session:
        url = f"http://127.0.0.1:{script.server_port}/upload?upload_id=secret"
        yield ResumableUpload(prepare(session), url, (30, 30), 2)


def more(last: int) -> Answer:
    return 308, {"Range": f"bytes=0-{last}"}


END = len(CHUNK) - 1


def test_chunks_go_on_and_the_last_tells_the_length(script: Script, upload: ResumableUpload) -> None:
    script.answers = [more(END), more(2 * END + 1), (200, {})]
    upload.send(CHUNK)
    upload.send(CHUNK)
    assert upload.finish(b"abc") is True
    assert script.requests == [
        ("PUT", "bytes 0-262143/*", 262144),
        ("PUT", "bytes 262144-524287/*", 262144),
        ("PUT", "bytes 524288-524290/524291", 3),
    ]


def test_condition_that_does_not_hold_is_false(script: Script, upload: ResumableUpload) -> None:
    script.answers = [more(END), (412, {})]
    upload.send(CHUNK)
    assert upload.finish(b"abc") is False


def test_part_of_a_chunk_that_was_not_kept_is_sent_again(script: Script, upload: ResumableUpload) -> None:
    script.answers = [more(99), more(99), more(END)]
    upload.send(CHUNK)
    assert script.requests[1:] == [("PUT", "bytes */*", 0), ("PUT", "bytes 100-262143/*", 262044)]


def test_chunk_whose_answer_was_lost_is_not_sent_twice(script: Script, upload: ResumableUpload) -> None:
    script.answers = [None, more(END), (201, {})]
    upload.send(CHUNK)
    assert upload.finish(b"abc") is True
    assert [length for _, _, length in script.requests] == [262144, 0, 3]


def test_end_whose_answer_was_lost_is_asked_for(script: Script, upload: ResumableUpload) -> None:
    script.answers = [(503, {}), (200, {})]
    assert upload.finish(CHUNK) is True
    assert script.requests[1] == ("PUT", "bytes */262144", 0)


def test_nothing_kept_is_all_sent_again(script: Script, upload: ResumableUpload) -> None:
    script.answers = [(500, {}), (308, {}), more(END)]
    upload.send(CHUNK)
    assert script.requests[2] == ("PUT", "bytes 0-262143/*", 262144)


@pytest.mark.parametrize("answers", [[None] * 3, [(503, {})] * 3, [(404, {})], [(410, {})]])
def test_service_that_fails_for_good_is_an_error(
    script: Script, upload: ResumableUpload, answers: list[Answer]
) -> None:
    for use in (upload.send, upload.finish):
        script.answers = list(answers)
        with pytest.raises(requests.RequestException) as caught:
            use(CHUNK)
        assert "upload_id" not in "".join(traceback.format_exception(caught.value))


def test_service_that_loses_what_it_confirmed_is_an_error(script: Script, upload: ResumableUpload) -> None:
    script.answers = [more(END), more(99)]
    upload.send(CHUNK)
    with pytest.raises(requests.HTTPError):
        upload.send(CHUNK)


def test_cancelled_upload_is_deleted(script: Script, upload: ResumableUpload) -> None:
    script.answers = [(499, {}), (404, {}), (503, {})]
    upload.cancel()
    upload.cancel()
    with pytest.raises(requests.HTTPError):
        upload.cancel()
    assert script.requests[0][0] == "DELETE"
