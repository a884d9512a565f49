"""The outermost layer: an answer that nobody closes."""

import contextvars
import gc
from collections.abc import Iterator
from typing import Any

from casproject.observability.edge import Edge
from casproject.observability.exchange import Exchange

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
