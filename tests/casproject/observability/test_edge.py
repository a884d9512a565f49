"""The outermost layer: an answer that nobody closes, one that breaks off, and what is counted of a transfer."""

import contextvars
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError
from django.test import Client, RequestFactory

from artifacts.exceptions import ArtifactCorrupt, StorageError
from artifacts.tokens import DOWNLOADER
from casproject.handlers import TransferHandler
from casproject.observability import definitions
from casproject.observability.access_log import fields_of
from casproject.observability.definitions import PROBLEMS
from casproject.observability.edge import Edge
from casproject.observability.exchange import Exchange
from casproject.observability.receivers import on_deduplicated_upload, on_upload
from tests.factories import bearer, digest_of, stored_at

ENVIRON = {"PATH_INFO": "/artifacts/", "REQUEST_METHOD": "GET"}


class Answer:
    """Pieces, which tell when they are closed."""

    def __init__(self, told: list[str]) -> None:
        self._told = told

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"piece"])

    def close(self) -> None:
        self._told.append("closed")


def test_answer_that_is_dropped_is_closed_with_the_next_request_and_not_by_the_garbage_collector() -> None:
    contextvars.copy_context().run(drop_and_go_on)  # what a request sets is not for other tests


def drop_and_go_on() -> None:
    told: list[str] = []
    over: list[Exchange] = []

    def application(environ: dict[str, Any], start_response: Any) -> Answer:
        start_response("200 OK", [])
        return Answer(told)

    edge = Edge(application, [over.append])
    dropped = edge(ENVIRON, lambda *_: None)
    dropped.itself = dropped  # type: ignore[attr-defined]  # as an exception's traceback may hold it
    del dropped
    gc.collect()
    assert (told, over) == ([], [])
    answer = edge(ENVIRON, lambda *_: None)
    assert (told, len(over)) == (["closed"], 1)
    answer.close()  # type: ignore[attr-defined]
    del answer
    edge(ENVIRON, lambda *_: None).close()  # type: ignore[attr-defined]
    assert (len(told), len(over)) == (3, 3)  # once each


def problems(code: str) -> float:
    return sum(PROBLEMS.read().get((code,), []))


@pytest.mark.django_db(transaction=True)  # an answer that is closed closes the connection
@pytest.mark.parametrize("size", [1000, 1_000_000], ids=["answered 502", "found on the way"])
def test_damage_is_counted_once_each_time_and_is_no_clients_doing(client: Client, root: Path, size: int) -> None:
    """The first time, too: the alert on damage waits for it."""
    content = bytes(size)
    client.put(f"/artifacts/{digest_of(content)}", content, headers=bearer())
    stored_at(root, content).write_bytes(content[:-1] + b"x")
    over: list[Exchange] = []
    edge = Edge(TransferHandler(settings.TRANSFER_MIDDLEWARE), [over.append])
    environ = RequestFactory().get(f"/artifacts/{digest_of(content)}", headers=bearer(DOWNLOADER)).environ

    def download() -> None:
        answer = edge(environ, lambda *_: None)
        try:
            assert len(b"".join(answer)) < size
        except ArtifactCorrupt:
            answer.close()  # type: ignore[attr-defined]

    for number in (1, 2):
        before = problems("artifact_corrupt")
        contextvars.copy_context().run(download)
        assert problems("artifact_corrupt") == before + 1
        fields = fields_of(over[-1])
        status = 200 if size > 1000 and number == 1 else 502
        assert (fields["status"], fields["result"], fields["code"]) == (status, "failed", "artifact_corrupt")
    assert len(over) == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [(StorageError(), "storage_error"), (OperationalError(), "unavailable"), (OSError(), "internal_error")],
)
def test_answer_that_an_error_cuts_off_has_failed(error: Exception, code: str) -> None:
    before = problems(code)
    exchange = cut_off(error)
    assert (exchange.result, exchange.code, problems(code)) == ("failed", code, before + 1)


def test_answer_whose_client_leaves_is_aborted() -> None:
    exchange = cut_off(None)
    assert (exchange.result, exchange.code) == ("aborted", "")


def cut_off(error: Exception | None) -> Exchange:
    """What became of a request whose answer ended with this, or whose client left."""
    over: list[Exchange] = []

    def application(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"piece"
        if error:
            raise error

    def download() -> None:
        answer = Edge(application, [over.append])(ENVIRON, lambda *_: None)
        pieces = iter(answer)
        assert next(pieces) == b"piece"
        if error:
            with pytest.raises(type(error)):
                next(pieces)
        answer.close()  # type: ignore[attr-defined]

    contextvars.copy_context().run(download)
    (exchange,) = over
    return exchange


OTHER = definitions.OTHER
Counted = dict[tuple[str, ...], float]


@pytest.fixture
def transfers(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Counted]:
    """How many have ended during the test, by labels; and their bytes, uploaded and deduplicated, by a word."""
    shown = definitions.TRANSFERS, definitions.UPLOADED_BYTES, definitions.DEDUPLICATED_BYTES
    for counter in shown:
        monkeypatch.setattr(counter, "_series", {})

    def read() -> Counted:
        counts, uploaded, deduplicated = ({key: n for key, (n,) in counter.read().items()} for counter in shown)
        named = {"uploaded": uploaded, "deduplicated": deduplicated}
        return counts | {(word,): amounts[OTHER,] for word, amounts in named.items() if amounts}

    return read


def answer(method: str, path: str, status: str, tell: Callable[[str, int], None] | None) -> Exchange:
    """A request that was answered so after what it told of an artifact."""
    over: list[Exchange] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if tell:
            tell("ab", 12)
        start_response(status, [])
        return []

    environ = {"PATH_INFO": path, "REQUEST_METHOD": method}
    contextvars.copy_context().run(Edge(application, [over.append]), environ, lambda *_: None)
    return over[0]


@pytest.mark.parametrize(
    ("method", "status", "tell", "result"),
    [
        ("PATCH", "503 Service Unavailable", on_upload, "failed"),  # placed, and not recorded
        ("PATCH", "500 Internal Server Error", on_deduplicated_upload, "failed"),
        ("POST", "413 Content Too Large", on_deduplicated_upload, "refused"),  # there already, and its body is longer
    ],
)
def test_upload_whose_client_is_told_of_an_error_is_no_success(
    transfers: Callable[[], Counted], method: str, status: str, tell: Any, result: str
) -> None:
    over = answer(method, "/uploads/1", status, tell)
    assert transfers() == {("upload", result, OTHER): 1}
    assert fields_of(over)["result"] == result


@pytest.mark.parametrize(
    ("tell", "counted"),
    [
        (on_upload, {("upload", "stored", OTHER): 1, ("uploaded",): 12}),
        (on_deduplicated_upload, {("upload", "deduplicated", OTHER): 1, ("deduplicated",): 12}),
        (None, {}),
    ],
    ids=["stored", "deduplicated", "unfinished"],
)
def test_upload_that_a_head_finishes_is_counted(transfers: Callable[[], Counted], tell: Any, counted: Counted) -> None:
    over = answer("HEAD", "/uploads/1", "200 OK", tell)
    assert transfers() == counted
    assert fields_of(over).get("action") == ("upload" if tell else None)
