"""What this installation presents to NATS, and what it demands of it: addresses, credentials, TLS.

Files are read for each connection, so that what is renewed in them counts from the next one on.
"""

import base64
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings

from audit import nkeys

_T = TypeVar("_T")


class AccessError(Exception):
    """What is configured cannot be used; the text says which and why, and nothing of a secret."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a connection is made with. Texts are empty, and the rest None, where nothing is configured."""

    servers: list[str]
    user: str
    password: str
    token: str
    key: Ed25519PrivateKey | None
    user_jwt: str
    tls: ssl.SSLContext | None
    demands_tls: bool

    def sign(self, nonce: str) -> bytes:
        """The server's challenge, signed, in base64; only where there is a key."""
        assert self.key is not None  # noqa: S101  (for the type checker)
        return base64.b64encode(self.key.sign(nonce.encode()))


def configured(url: str) -> Access:
    """As the settings and files have it now, for these servers; raises AccessError."""
    servers = [address.strip() for address in url.split(",") if address.strip()]
    jwt, key = "", None
    if settings.NATS_CREDS:
        jwt, key = _read("NATS_CREDS", nkeys.read_credentials_file, "no JWT and seed of a user, as `nsc` writes them")
    elif settings.NATS_NKEY:
        key = _read("NATS_NKEY", nkeys.read_seed, "no seed of a user's NKEY")
    demands_tls = bool(settings.NATS_CA or settings.NATS_CERT) or any(
        urlsplit(address).scheme == "tls" for address in servers
    )
    return Access(
        servers=servers,
        user=settings.NATS_USER,
        password=settings.NATS_PASSWORD,
        token=settings.NATS_TOKEN,
        key=key,
        user_jwt=jwt,
        tls=_tls() if demands_tls else None,
        demands_tls=demands_tls,
    )


def _tls() -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.NATS_CA or None)
    except OSError as error:  # ssl.SSLError is one
        raise AccessError(f"NATS_CA: {settings.NATS_CA} {_why(error, 'holds no certificate in PEM')}.") from error
    if settings.NATS_CERT:
        try:
            context.load_cert_chain(settings.NATS_CERT, settings.NATS_KEY or None, password="")
        except OSError as error:
            reason = _why(error, "and its key are no pair in PEM, without a password")
            raise AccessError(f"NATS_CERT, NATS_KEY: {settings.NATS_CERT} {reason}.") from error
    return context


def _why(error: OSError, otherwise: str) -> str:
    return otherwise if isinstance(error, ssl.SSLError) else f"or what belongs to it cannot be read: {error.strerror}"


def _read(name: str, parse: Callable[[str], _T], otherwise: str) -> _T:
    path = Path(getattr(settings, name))
    try:
        return parse(path.read_text())
    except OSError as error:
        raise AccessError(f"{name}: {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise AccessError(f"{name}: {path} holds {otherwise}.") from error
