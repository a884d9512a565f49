"""The outermost layer of the WSGI application: every request passes it, and every answer to its last byte."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from artifacts.api_errors import code_of
from casproject.observability.exchange import CURRENT, Exchange
from common.origin import ORIGIN, REQUEST_ID

logger = logging.getLogger(__name__)

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Edge:
    """Watches an application, names its requests, and tells all of `at_end` of each one when it is over."""

    def __init__(
        self,
        application: Application,
        at_end: Iterable[Callable[[Exchange], None]] = (),
        at_begin: Callable[[Exchange], dict[str, str]] | None = None,
    ) -> None:
        """`at_begin` says what tasks are to be told of a request, beside its id."""
        self._application = application
        self._at_end = tuple(at_end)
        self._at_begin = at_begin

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        _close_dropped()
        exchange = Exchange(environ)
        CURRENT.set(exchange)
        origin = {REQUEST_ID: exchange.request_id}
        if self._at_begin is not None:
            origin |= self._at_begin(exchange)
        ORIGIN.set(origin)

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            exchange.status = int(status[:3])
            headers.append(("X-Request-ID", exchange.request_id))
            return start_response(status, headers, *error)

        try:
            body = self._application(environ, start)
        except BaseException:
            self.end(exchange)
            raise
        if type(body) is list:
            self.end(exchange)
            return body
        return _Body(self, exchange, body)

    def end(self, exchange: Exchange) -> None:
        """Count and log it, unless that is done."""
        if exchange.end():
            for tell in self._at_end:
                tell(exchange)


class _Body:
    """An answer's pieces; it is over with the last one, or when its client has left."""

    def __init__(self, edge: Edge, exchange: Exchange, body: Iterable[bytes]) -> None:
        self._edge = edge
        self._exchange = exchange
        self._body = body
        self._pieces = iter(body)
        self._is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        CURRENT.set(self._exchange)  # whichever thread asks
        try:
            return next(self._pieces)
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, StopIteration):
                self._exchange.cut_off(code_of(error))
            self._edge.end(self._exchange)
            raise

    def close(self) -> None:
        self._is_closed = True
        try:
            if close := getattr(self._body, "close", None):
                close()
        finally:
            self._edge.end(self._exchange)

    def __del__(self) -> None:
        """For an answer that the server drops without closing it: it is closed with the next request."""
        # Not here: the garbage collector may come in the middle of a ContextVar.set, and closing a response sets
        # another, Django's of the URLs. CPython loses that, hands out the freed value afterwards, and crashes.
        if not self._is_closed:
            _dropped.append(self)


_dropped: deque[_Body] = deque()


def _close_dropped() -> None:
    while _dropped:
        try:
            _dropped.popleft().close()
        except IndexError:
            return  # another request was faster
        except Exception:
            logger.exception("An answer that was dropped could not be closed")
