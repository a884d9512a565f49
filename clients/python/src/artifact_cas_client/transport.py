"""Requests to one server, from any thread, each over a connection of its own."""

import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any

from artifact_cas_client.addresses import Server
from artifact_cas_client.connecting import Connection
from artifact_cas_client.errors import BadAnswer, Cancelled, CasError, ConnectionFailed, server_error
from artifact_cas_client.exchange import BLOCK, Body, Exchange, patience, wire

MAX_TEXT = 1024**2  # bytes of an answer that is no artifact


class Answer:
    """A response whose body has not been read; `length` is None when nobody said."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers = response.headers
        self.length = response.length

    def read(self, size: int) -> bytes:
        """What has arrived, up to `size` bytes; b"" at the end. Raises ConnectionFailed when that came too early."""
        with wire():
            block = self._response.read1(size)
        if not block and self._response.length:
            raise ConnectionFailed(f"The connection broke off {self._response.length} bytes before the end.")
        return block

    def json(self) -> dict[str, Any]:
        """Raises BadAnswer, ConnectionFailed."""
        text = b""
        while len(text) < MAX_TEXT and (block := self.read(BLOCK)):
            text += block
        try:
            content = json.loads(text)
        except ValueError as error:
            raise BadAnswer(f"The server answered {self.status} without JSON.") from error
        if not isinstance(content, dict):
            raise BadAnswer(f"The server answered {self.status} with JSON of another kind.")
        return content


class Transport:
    """`timeout` in seconds: how long the server may be silent, or take no byte."""

    def __init__(self, server: Server, token: Callable[[], str], *, timeout: float, tls: ssl.SSLContext | None) -> None:
        self.server = server
        self.cancelled = threading.Event()
        self._token = token
        self._timeout = timeout
        self._tls = (tls or ssl.create_default_context()) if server.is_tls else None
        self._open: set[Connection] = set()

    def close(self) -> None:
        """End all requests under way, which then raise Cancelled."""
        self.cancelled.set()
        for connection in list(self._open):
            connection.interrupt()

    def patience(self, size: int) -> float:
        """Seconds that an answer may take when the server reads `size` bytes once before it."""
        return patience(self._timeout, size)

    @contextmanager
    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        *,
        read_before: int = 0,
    ) -> Iterator[Answer]:
        """Send it and give its answer, when that is 2xx.

        `read_before`: bytes that the server may read before it answers; those of the body it always may.
        Raises ServerError, BadAnswer for a redirect, which would show the token to others, ConnectionFailed,
        Cancelled, ConfigurationError, and what reading the body's file and the token raises.
        """
        fields = {"Authorization": f"Bearer {self._token()}", **(headers or {})}
        connection = Connection(self.server, self._timeout, self._tls, self.cancelled)
        self._open.add(connection)
        exchange = Exchange(connection, self._timeout)
        try:
            connection.check()  # one that is made after `close` is not seen by it
            exchange.send_head(method, self.server.path + path, fields, body)
            connection.check()
            answer = Answer(exchange.finish(body, max(read_before, body.length if body else 0)))
            if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
                raise _error_in(answer)
            yield answer
        except ConnectionFailed as error:
            if self.cancelled.is_set():
                raise Cancelled("The transfer was cancelled.") from error
            raise
        finally:
            self._open.discard(connection)
            exchange.close()


def _error_in(answer: Answer) -> CasError:
    """What an answer that is not 2xx means; its problem document, when it has one, says it best."""
    if answer.status < HTTPStatus.BAD_REQUEST:
        return BadAnswer(f"The server answers {answer.status}: {answer.headers.get('Location', 'elsewhere')}")
    problem: dict[str, Any] = {}
    if answer.headers.get("Content-Type", "").startswith("application/problem+json"):
        with suppress(BadAnswer, ConnectionFailed):
            problem = answer.json()
    code = str(problem.get("code") or f"http_{answer.status}")
    detail = str(problem.get("detail") or http.client.responses.get(answer.status, "an error"))
    return server_error(answer.status, code, detail, _retry_after(answer))


def _retry_after(answer: Answer) -> float | None:
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() and len(value) < 6 else None  # noqa: PLR2004 -- dates are not worth it
