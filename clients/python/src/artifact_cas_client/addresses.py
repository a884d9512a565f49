"""Where the server is, and the token it is given."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from artifact_cas_client.errors import ConfigurationError

_TOKEN = re.compile(r"[!-~]+")  # visible ASCII: anything else would be another header


@dataclass(frozen=True, slots=True)
class Server:
    """`path` is before all of the server's own, without a slash at its end."""

    is_tls: bool
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.is_tls else 'http'}://{host}:{self.port}{self.path}"

    @classmethod
    def parse(cls, url: str) -> "Server":
        """Raises ConfigurationError."""
        try:
            parts = urlsplit(url.strip())
            port = parts.port
        except ValueError as error:
            raise ConfigurationError(f"The server's address cannot be read: {error}.") from error
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigurationError("The server's address must be such as https://cas.example.com.")
        if parts.username is not None or parts.query or parts.fragment:
            raise ConfigurationError("The server's address has no user, query or fragment.")
        is_tls = parts.scheme == "https"
        return cls(is_tls, parts.hostname, port or (443 if is_tls else 80), parts.path.rstrip("/"))

    @property
    def is_local(self) -> bool:
        return self.host in {"localhost", "::1"} or self.host.startswith("127.")


def token_source(token: str | Callable[[], str]) -> Callable[[], str]:
    """What gives a token for each request; raises ConfigurationError when it is none."""

    def checked() -> str:
        value = (token if isinstance(token, str) else token()).strip()
        if not _TOKEN.fullmatch(value):
            raise ConfigurationError("The token is empty, or no token.", "invalid_token")
        return value

    return checked
