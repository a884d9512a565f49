"""From an HTTP request to what the services take: body, file name, range."""

import re
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes

from django.core.exceptions import BadRequest
from rest_framework.request import Request

from artifacts.digests import BLOCK_SIZE
from artifacts.exceptions import IncompleteBody, InvalidFileName, InvalidRange, TooLarge
from artifacts.file_names import check_file_name

_LENGTH = re.compile(r"[0-9]{1,20}")  # RFC 9110, section 8.6; what 64 bits can say


class RequestBody:
    """The raw body. Django's own stream is not used: it takes a chunked body for an empty one.

    Raises BadRequest when Content-Length is no number.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        self._stream = environ["wsgi.input"]
        is_chunked = "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()
        length = environ.get("CONTENT_LENGTH") or "0"
        if not _LENGTH.fullmatch(length):
            raise BadRequest("Content-Length is no number of bytes.")
        self.length = None if is_chunked else int(length)
        self._awaits_continue = environ.get("HTTP_EXPECT", "").lower() == "100-continue"
        self._received = 0

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; b"" at the end, and also when the client left: compare with `length`.

        Raises IncompleteBody where the server tells that the client left.
        """
        try:
            block: bytes = self._stream.read(size)
        except OSError as error:
            raise IncompleteBody from error
        self._received += len(block)
        return block

    def drain(self, limit: int = 0) -> None:
        """Read what the client still sends and drop it, so that it sees the answer and not a broken pipe.

        A client that waits for `100 Continue` (RFC 9110, section 10.1.1) is not asked for its body at all.
        Raises IncompleteBody when it leaves before the end, and TooLarge when it sends more than `limit` bytes.
        """
        if not self._discard(limit + 1 if limit else None):
            return
        if limit and self._received > limit:
            raise TooLarge
        if self.length is not None and self._received < self.length:
            raise IncompleteBody

    def discard(self, limit: int) -> None:
        """The same for a body that is refused: at most `limit` bytes, and it does not matter how it ends."""
        with suppress(IncompleteBody):
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
        query = parse_qs(_as_utf_8(request.META.get("QUERY_STRING", "")), keep_blank_values=True, errors="strict")
        if "filename" in query:
            return check_file_name(query["filename"][-1])
        header = request.META.get("HTTP_CONTENT_DISPOSITION")
        if header == "":  # what granian makes of a header that is not ASCII
            raise InvalidFileName("Content-Disposition cannot be read; send the name as ?filename= or as filename*.")
        return check_file_name(_disposition_file_name(_as_utf_8(header or "")))
    except UnicodeError as error:
        raise InvalidFileName("The file name is not UTF-8.") from error


def _as_utf_8(text: str) -> str:
    """What a client meant by bytes that it did not escape, and that WSGI hands over as latin-1."""
    return text.encode("latin-1").decode()


# `; name=token`, `; name="quoted"`. Not by the email package: it repairs where a name must be exact or refused.
_PARAMETER = re.compile(r""";\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))""")


def _disposition_file_name(header: str) -> str:
    parameters: dict[str, str] = {}
    for name, quoted, token in _PARAMETER.findall(header):
        value = re.sub(r"\\(.)", r"\1", quoted) or token.strip()
        parameters.setdefault(name.lower(), value)
    if "filename*" in parameters:  # goes before `filename`
        return _extended_value(parameters["filename*"])
    return parameters.get("filename", "")


def _extended_value(value: str) -> str:
    """Decode `charset'language'percent-encoded` (RFC 8187); raises InvalidFileName, UnicodeError."""
    charset, _, rest = value.partition("'")
    _, quote, encoded = rest.partition("'")
    if not quote or charset.lower() not in {"utf-8", "iso-8859-1"}:
        raise InvalidFileName("The file name's extended form is not that of RFC 8187.")
    return unquote_to_bytes(encoded).decode(charset)


_RANGE = re.compile(r"bytes *= *([0-9]{0,18}) *- *([0-9]{0,18})", re.IGNORECASE)


def parse_range(request: Request, size: int, etag: str) -> range | None:
    """The one range asked for (RFC 9110, section 14), None for the whole; raises InvalidRange.

    Several ranges, other units and nonsense are ignored, as the RFC allows; so is a range whose `If-Range`
    does not name this artifact.
    """
    match = _RANGE.fullmatch(request.META.get("HTTP_RANGE", "").strip())
    if match is None or request.META.get("HTTP_IF_RANGE", etag) != etag:
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
