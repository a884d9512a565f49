"""From an HTTP request to what the services take: body, file name, range."""

import re
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import Any
from urllib.parse import parse_qs

from rest_framework.request import Request

from artifacts.digests import BLOCK_SIZE
from artifacts.exceptions import IncompleteBody, InvalidFileName, InvalidRange
from artifacts.file_names import check_file_name


class RequestBody:
    """The raw body. Django's own stream is not used: it takes a chunked body for an empty one."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self._stream = environ["wsgi.input"]
        is_chunked = "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()
        length = environ.get("CONTENT_LENGTH") or "0"
        self.length = None if is_chunked else int(length)
        self._awaits_continue = environ.get("HTTP_EXPECT", "").lower() == "100-continue"
        self._received = 0

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; b"" at the end, and also when the client left: compare with `length`."""
        block: bytes = self._stream.read(size)
        self._received += len(block)
        return block

    def drain(self) -> None:
        """Read what the client still sends and drop it, so that it sees the answer and not a broken pipe.

        A client that waits for `100 Continue` (RFC 9110, section 10.1.1) is not asked for its body at all.
        Raises IncompleteBody when it leaves before the end.
        """
        if self._discard(limit=None) and self.length is not None and self._received < self.length:
            raise IncompleteBody

    def discard(self, limit: int) -> None:
        """The same for a body that is refused: at most `limit` bytes, and it does not matter how it ends."""
        self._discard(limit)

    def _discard(self, limit: int | None) -> bool:
        if self._awaits_continue and not self._received:
            return False
        while limit is None or self._received < limit:
            left = BLOCK_SIZE if self.length is None else min(BLOCK_SIZE, self.length - self._received)
            if not self.read(left):
                break
        return True


def parse_file_name(request: Request) -> str:
    """The name from `?filename=`, else from `Content-Disposition` (RFC 6266), else ""; raises InvalidFileName."""
    try:
        query = parse_qs(request.META.get("QUERY_STRING", ""), keep_blank_values=True, errors="strict")
        if "filename" in query:
            return check_file_name(query["filename"][-1])
        # A WSGI header is latin-1 for bytes that clients meant as UTF-8.
        header = request.headers.get("Content-Disposition", "").encode("latin-1").decode()
    except UnicodeError as error:
        raise InvalidFileName("The file name is not UTF-8.") from error
    return check_file_name(_disposition_file_name(header))


def _disposition_file_name(header: str) -> str:
    message = Message()
    message["Content-Disposition"] = header
    params: list[tuple[str, Any]] = message.get_params([], "Content-Disposition")
    values = [value for name, value in params if name.lower() == "filename"]
    extended = [value for value in values if isinstance(value, tuple)]  # `filename*` goes before `filename`
    return collapse_rfc2231_value((extended or values or [""])[0])


_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def parse_range(request: Request, size: int, etag: str) -> range | None:
    """The one range asked for (RFC 9110, section 14), None for the whole; raises InvalidRange.

    Several ranges, other units and nonsense are ignored, as the RFC allows; so is a range whose `If-Range`
    does not name this artifact.
    """
    match = _RANGE.fullmatch(request.headers.get("Range", "").replace(" ", ""))
    if match is None or request.headers.get("If-Range", etag) != etag:
        return None
    first, last = match.groups()
    if first:
        span = range(int(first), min(int(last) + 1, size) if last else size)
        if last and int(last) < int(first):
            return None
    elif last:
        span = range(max(0, size - int(last)), size)
    else:
        return None
    if not span:
        raise InvalidRange(size)
    return span
