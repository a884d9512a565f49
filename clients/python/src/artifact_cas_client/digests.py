"""`sha256:<hex>`."""

import hashlib
import os
import re
import threading
from pathlib import Path
from typing import Protocol

from artifact_cas_client.errors import Cancelled, ConfigurationError

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_BLOCK = 1024**2


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def parse_digest(text: str) -> str:
    """The digest as the server writes it; the prefix may be missing. Raises ConfigurationError."""
    match = _DIGEST.fullmatch(text.strip().lower())
    if match is None:
        raise ConfigurationError(f"{text!r} is no digest: sha256: and 64 hexadecimal digits.", "invalid_digest")
    return f"sha256:{match[1]}"


def digest_of(file: _Readable, cancelled: threading.Event | None = None) -> str:
    """Read a binary file to its end and return its digest; raises OSError, and Cancelled once the event is set."""
    hasher = hashlib.sha256()
    while block := file.read(_BLOCK):
        if cancelled is not None and cancelled.is_set():
            raise Cancelled("The transfer was cancelled.")
        hasher.update(block)
    return f"sha256:{hasher.hexdigest()}"


def digest_of_file(path: "str | os.PathLike[str]", cancelled: threading.Event | None = None) -> str:
    """The same of a file by its path."""
    with Path(path).open("rb") as file:
        return digest_of(file, cancelled)
