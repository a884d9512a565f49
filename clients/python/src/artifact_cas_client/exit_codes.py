"""What the command's exit code says; with several files, that of the first that failed."""

from artifact_cas_client.errors import (
    ArtifactCorrupt,
    Cancelled,
    ConfigurationError,
    ConnectionFailed,
    DigestMismatch,
    ServerError,
    TokenRefused,
    Unavailable,
)

FAILED = 1
INTERRUPTED = 130

_CODES: list[tuple[type[Exception], int]] = [
    (Cancelled, INTERRUPTED),
    (ConfigurationError, 2),
    (TokenRefused, 5),
    (Unavailable, 6),
    (ConnectionFailed, 6),
    (ArtifactCorrupt, 7),
    (DigestMismatch, 7),
    (ServerError, 3),
]

_BY_THE_SERVERS_WORD = {DigestMismatch.code: 7, "artifact_not_found": 4}

MEANINGS = """exit codes:
  0  all done
  1  a file could not be read or written, or exists already; or another failure
  2  wrong usage, address, token, digest or name
  3  the server refused (its code and detail are shown)
  4  there is no such artifact
  5  the token was refused
  6  no connection, or the server is unavailable, after all retries
  7  the bytes do not match the digest, there or on their way
130  interrupted; what can be resumed is resumed by the same command
with several files, the code of the first that failed"""


def exit_code(error: Exception) -> int:
    """The code for this error."""
    if known := _BY_THE_SERVERS_WORD.get(getattr(error, "code", "")):
        return known
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)
