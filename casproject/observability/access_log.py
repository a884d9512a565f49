"""A line for each transfer, to standard error. Not by way of logging, which takes several times as long."""

import os
import time
from contextlib import suppress
from functools import lru_cache
from json.encoder import encode_basestring_ascii  # as json.dumps does it; making that an encoder takes longer

from casproject.observability.exchange import Exchange
from casproject.observability.redaction import redact

_STANDARD_ERROR = 2
_LONGEST_PATH, _LONGEST_NAME = 256, 64  # characters; the whole line must fit into what a pipe takes at once
_SILENT = frozenset({"livez", "readyz", "metrics", "static"})


def write_json(exchange: Exchange) -> None:
    """As an object with the fields of the log's other lines."""
    if exchange.part in _SILENT:
        return
    pairs = ",".join(f'"{name}":{_quoted(value)}' for name, value in fields_of(exchange).items())
    _write(f'{{"time":"{_now()}","level":"INFO","logger":"cas.access",{pairs}}}')


def write_plain(exchange: Exchange) -> None:
    """As `name=value` pairs."""
    if exchange.part in _SILENT:
        return
    pairs = " ".join(f"{name}={_bare(value)}" for name, value in fields_of(exchange).items())
    _write(f"INFO cas.access: {pairs}")


def fields_of(exchange: Exchange) -> dict[str, str | float]:
    """What is told of a request: nothing of its query, which may be a token, and no header but the request's id."""
    fields: dict[str, str | float] = {
        "request_id": exchange.request_id,
        "method": exchange.method,
        "path": exchange.path if exchange.digest else redact(exchange.path[:_LONGEST_PATH]),
        "status": exchange.status,
        "duration_ms": round(exchange.seconds * 1000, 3),
    }
    if exchange.code:
        fields["code"] = exchange.code
    if exchange.action:
        fields["action"] = exchange.action
        fields["result"] = exchange.result
    if exchange.grant is not None:
        fields["organization"] = exchange.grant.org_id[:_LONGEST_NAME]
        fields["location"] = f"{exchange.grant.backend}/{exchange.grant.secret_id}"
    if exchange.digest:
        fields["digest"] = exchange.digest
        fields["bytes"] = exchange.size_bytes
    return fields


def _now() -> str:
    seconds, milliseconds = divmod(time.time_ns() // 1_000_000, 1000)
    return f"{_moment(seconds)}.{milliseconds:03d}+00:00"


@lru_cache(maxsize=2)
def _moment(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _quoted(value: str | float) -> str:
    return encode_basestring_ascii(value) if isinstance(value, str) else repr(value)


def _bare(value: str | float) -> str:
    text = str(value)
    is_bare = text.isascii() and text.isprintable() and not set(text) & set(' "=')
    return text if is_bare else encode_basestring_ascii(text)


def _write(line: str) -> None:
    with suppress(OSError):  # nobody reads it any more, or its disk is full: no reason to fail a transfer
        os.write(_STANDARD_ERROR, f"{line}\n".encode())
