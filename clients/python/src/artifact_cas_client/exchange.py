"""One HTTP request and its response. http.client sends a body whatever the server says of it; this asks first.

`Expect: 100-continue` (RFC 9110, section 10.1.1): the body is sent when the server has asked for it, or has said
nothing for a while. A server that needs no body, or refuses the request, answers instead, and costs no body.
"""

import http.client
import io
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from artifact_cas_client.errors import ConfigurationError, ConnectionFailed

BLOCK = 256 * 1024
EXPECT_FROM = 64 * 1024  # bytes of a body; less is sent sooner than it is asked for
EXPECT_SECONDS = 3.0  # for servers that do not know it
ANSWER_BYTES_PER_SECOND = 16 * 1024**2  # how fast a server reads an upload once more, or passes it on, at least


@dataclass(frozen=True, slots=True)
class Body:
    """The next `length` bytes of a file; `told` how many were sent."""

    file: BinaryIO
    length: int
    told: Callable[[int], None]


def patience(timeout: float, size: int) -> float:
    """Seconds that an answer may take when the server reads `size` bytes before it; `timeout` when it reads none."""
    return timeout + size / ANSWER_BYTES_PER_SECOND


class _Lines(io.BufferedReader):
    """Remembers the last line: http.client takes the end of the connection for the end of an answer's head."""

    last = b""

    def readline(self, size: int | None = -1, /) -> bytes:
        self.last = super().readline(size)
        return self.last


class Exchange:
    """Over a connection that has not been made yet, and is closed with it."""

    def __init__(self, connection: http.client.HTTPConnection, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self._method = ""
        self._closing = ExitStack()
        self._closing.callback(connection.close)

    def send_head(self, method: str, path: str, headers: Mapping[str, str], body: Body | None) -> None:
        """Connect and send all but the body; raises ConnectionFailed, ConfigurationError."""
        self._method = method
        fields = {"Connection": "close", "Accept-Encoding": "identity", **headers}
        if body is not None or method == "POST":
            fields["Content-Length"] = str(body.length if body else 0)
        if _asks_first(body):
            fields["Expect"] = "100-continue"
        with wire():
            self._connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in fields.items():
                self._connection.putheader(name, value)
            self._connection.endheaders()

    def finish(self, body: Body | None, read_before: int) -> http.client.HTTPResponse:
        """Send the body, if the server wants it, and return the answer, before which it may read so many bytes.

        Raises ConnectionFailed, OSError.
        """
        response, is_answered = self._await_word() if _asks_first(body) else (self._new_response(), False)
        if body is not None and not is_answered:
            self._send(body)
        with wire():
            self._connection.sock.settimeout(patience(self._timeout, read_before))
            head = response.fp
            response.begin()  # passes over `100 Continue`
            if isinstance(head, _Lines) and not head.last:
                raise ConnectionFailed("The connection broke off within the head of an answer.")
        self._connection.sock.settimeout(self._timeout)
        return response

    def close(self) -> None:
        self._closing.close()

    def _new_response(self) -> http.client.HTTPResponse:
        response = http.client.HTTPResponse(self._connection.sock, method=self._method)
        response.fp = _Lines(response.fp.detach())
        self._closing.callback(response.close)
        return response

    def _await_word(self) -> tuple[http.client.HTTPResponse, bool]:
        """Wait for what the server says to the head: whether that was its answer, and what to read on from."""
        response = self._new_response()
        with wire():
            self._connection.sock.settimeout(min(EXPECT_SECONDS, self._timeout))
            try:
                # Looked at, not taken. A status line comes in one piece; were it not so, the request would time out.
                word = response.fp.peek(1)[:12]
            except TimeoutError:
                response = self._new_response()  # after a timeout the other reads no more
                word = b""
            self._connection.sock.settimeout(self._timeout)
        return response, word.startswith(b"HTTP/") and not word.endswith(b" 100")

    def _send(self, body: Body) -> None:
        left = body.length
        while left:
            block = body.file.read(min(BLOCK, left))
            if not block:
                raise OSError("the file became shorter while it was sent")
            try:
                self._connection.sock.sendall(block)
            except TimeoutError as error:
                raise ConnectionFailed("The server takes no more bytes.") from error
            except OSError:
                return  # an answer tells more than a broken pipe, if there is one
            left -= len(block)
            body.told(len(block))


def _asks_first(body: Body | None) -> bool:
    return body is not None and body.length >= EXPECT_FROM


@contextmanager
def wire() -> Iterator[None]:
    """Whatever fails on a connection as ConnectionFailed, but a certificate as ConfigurationError."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        detail = f"The server's certificate: {error.verify_message}."
        raise ConfigurationError(detail, "untrusted_certificate") from error
    except TimeoutError as error:
        raise ConnectionFailed("The server did not answer in time.") from error
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionFailed(f"The connection failed: {error or type(error).__name__}") from error
