"""The outermost layer: an answer that nobody closes, and one that breaks off."""

import contextvars
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError
from django.test import Client, RequestFactory

from artifacts.exceptions import ArtifactCorrupt, StorageError
from artifacts.tokens import DOWNLOADER
from casproject.handlers import TransferHandler
from casproject.observability import receivers  # noqa: F401  (connects them)
from casproject.observability.access_log import fields_of
from casproject.observability.definitions import PROBLEMS
from casproject.observability.edge import Edge
from casproject.observability.exchange import Exchange
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
