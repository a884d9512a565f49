"""What can go wrong, each with a stable `code`, and a `status` when the server said it. Local files raise OSError."""

from http import HTTPStatus
from typing import ClassVar


class CasError(Exception):
    """Base of all. `is_transient`: the same call may succeed a little later."""

    code: str = "error"
    status: int | None = None
    is_transient: ClassVar[bool] = False

    def __init__(self, detail: str, code: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code


class ConfigurationError(CasError):
    """The server's address, the token, a digest or a name is none; or the server's certificate is not trusted."""

    code = "configuration"


class Cancelled(CasError):
    """`Client.close` was called meanwhile."""

    code = "cancelled"


class ConnectionFailed(CasError):
    """No connection, or it broke off."""

    code = "connection_failed"
    is_transient = True


class DigestMismatch(CasError):
    """The bytes that came, or were to be sent, do not have the digest they should."""

    code = "digest_mismatch"


class BadAnswer(CasError):
    """Not an answer of this protocol: something else is at this address, or in between."""

    code = "bad_answer"


class ServerError(CasError):
    """The server refused; `code` and `detail` are those of its problem document (RFC 9457)."""

    def __init__(self, status: int, code: str, detail: str, retry_after: float | None = None) -> None:
        super().__init__(detail, code)
        self.status = status
        self.retry_after = retry_after


class TokenRefused(ServerError):
    """401, 403."""


class NotFound(ServerError):
    """404, 410."""


class ArtifactCorrupt(ServerError):
    """What the server has stored does not match its digest; it must be uploaded again."""


class Unavailable(ServerError):
    """502, 503, 504 and 423 (another request is finishing the same upload): try again."""

    is_transient = True


_KINDS: dict[int, type[ServerError]] = {
    HTTPStatus.UNAUTHORIZED: TokenRefused,
    HTTPStatus.FORBIDDEN: TokenRefused,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.GONE: NotFound,
    HTTPStatus.LOCKED: Unavailable,
    HTTPStatus.BAD_GATEWAY: Unavailable,
    HTTPStatus.SERVICE_UNAVAILABLE: Unavailable,
    HTTPStatus.GATEWAY_TIMEOUT: Unavailable,
}


def server_error(status: int, code: str, detail: str, retry_after: float | None = None) -> ServerError:
    """The kind of error that an answer is."""
    kind = ArtifactCorrupt if code == "artifact_corrupt" else _KINDS.get(status, ServerError)
    return kind(status, code, detail, retry_after)
