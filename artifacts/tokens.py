"""The control plane's tokens: ES512-signed JWTs (docs/tokens.md), verified once and remembered for their life.

The claims are those of Chainloop's `internal/robotaccount/cas`.
"""

import json
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP521R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from django.conf import settings

from artifacts.exceptions import InvalidToken

ALGORITHM = "ES512"
AUDIENCE = "artifact-cas.chainloop"
UPLOADER = "uploader"
DOWNLOADER = "downloader"

_T = TypeVar("_T")

_TIMES = frozenset({"exp", "nbf", "iat"})
_UNKEEPABLE = re.compile(r"[\0\ud800-\udfff]")

_REMEMBERED = 10_000  # tokens; a few hundred bytes each


class BadKeyFile(Exception):
    """A key file is missing, unreadable, or holds no P-521 public key."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a verified token allows; `max_bytes` 0 means no limit, `org_id` is as the token has it."""

    role: str
    backend: str
    secret_id: str
    max_bytes: int = 0
    org_id: str = ""
    source_internal: bool = False


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A public key, and the `kid` it goes by: None for a PEM file's."""

    public_key: EllipticCurvePublicKey
    kid: str | None = None


def load_keys(path: Path) -> list[TokenKey]:
    """Read a PEM or JWKS file; raise BadKeyFile. Keys in a JWKS that are for other algorithms are left out."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadKeyFile(f"{path} cannot be read.") from error
    keys = _jwks_keys(path, text) if text.lstrip().startswith("{") else _pem_keys(path, text)
    if not keys:
        raise BadKeyFile(f"{path} holds no P-521 public key, which {ALGORITHM} needs.")
    return keys


def _pem_keys(path: Path, text: str) -> list[TokenKey]:
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        if "PRIVATE KEY" in text:
            raise BadKeyFile(f"{path} holds a private key; the control plane's public key is all we need.") from error
        raise BadKeyFile(f"{path} is neither a PEM public key nor a JWKS.") from error
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP521R1):
        return []
    return [TokenKey(key)]


def _jwks_keys(path: Path, text: str) -> list[TokenKey]:
    try:
        entries = json.loads(text)["keys"]
        ours = [jwk for jwk in entries if jwk.get("kty") == "EC" and jwk.get("crv") == "P-521"]
        return [TokenKey(jwt.PyJWK(jwk, ALGORITHM).key, jwk.get("kid")) for jwk in ours]
    except (ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError) as error:
        raise BadKeyFile(f"{path} is not a JWKS.") from error


class TokenVerifier:
    """Verifies tokens against a set of keys, and remembers those that passed until they expire."""

    def __init__(self, keys: Iterable[TokenKey], issuer: str = "", remembered: int = _REMEMBERED) -> None:
        self._keys = list(keys)
        self._issuer = issuer or None
        self._remembered = remembered
        self._known: OrderedDict[bytes, tuple[float, Grant]] = OrderedDict()
        self._lock = threading.Lock()

    def verify(self, token: str) -> Grant:
        """The token's grant; raises InvalidToken."""
        fingerprint = sha256(token.encode()).digest()
        with self._lock:
            expires_at, grant = self._known.get(fingerprint, (0.0, None))
            if grant is not None and time.time() < expires_at:
                self._known.move_to_end(fingerprint)
                return grant
            self._known.pop(fingerprint, None)
        claims = self._decode(token)
        grant = _read_claims(claims)
        with self._lock:
            self._known[fingerprint] = (int(claims["exp"]), grant)
            if len(self._known) > self._remembered:
                self._known.popitem(last=False)
        return grant

    def _decode(self, token: str) -> Mapping[str, Any]:
        try:
            kid = jwt.get_unverified_header(token).get("kid")
        except jwt.PyJWTError as error:
            raise InvalidToken("The token is not a JWT.") from error
        refusal = InvalidToken("The token is signed by no known key.")
        for key in self._candidates(kid):
            try:
                claims: Mapping[str, Any] = jwt.decode(
                    token,
                    key.public_key,
                    algorithms=[ALGORITHM],
                    audience=AUDIENCE,
                    issuer=self._issuer,
                    options={"require": ["exp", "aud"]},
                )
            except jwt.InvalidSignatureError:
                continue
            except jwt.PyJWTError as error:
                refusal = InvalidToken(_reason(error))
                break
            return claims
        raise refusal

    def _candidates(self, kid: str | None) -> list[TokenKey]:
        """The keys of this `kid`; else those without one, for a minter may name a key that came to us as PEM."""
        if kid is None:
            return self._keys
        return [key for key in self._keys if key.kid == kid] or [key for key in self._keys if key.kid is None]


def _reason(error: jwt.PyJWTError) -> str:
    reasons = {
        jwt.ExpiredSignatureError: "The token has expired.",
        jwt.ImmatureSignatureError: "The token is not valid yet.",
        jwt.InvalidAudienceError: f"The token is not for {AUDIENCE}.",
        jwt.InvalidIssuerError: "The token is from another issuer.",
        jwt.InvalidAlgorithmError: f"The token is not signed with {ALGORITHM}.",
        jwt.MissingRequiredClaimError: "The token lacks a required claim.",
    }
    return next((text for kind, text in reasons.items() if isinstance(error, kind)), "The token is not valid.")


def _read_claims(claims: Mapping[str, Any]) -> Grant:
    for name in _TIMES & claims.keys():
        if type(claims[name]) not in {int, float}:  # PyJWT takes what int() does: texts, booleans
            raise InvalidToken(f"The token's {name} is no number.")
    grant = Grant(
        role=_claim(claims, "role", str),
        backend=_claim(claims, "backend", str),
        secret_id=_claim(claims, "secret-id", str),
        max_bytes=_claim(claims, "maxbytes", int, 0),
        org_id=_claim(claims, "org-id", str, ""),
        source_internal=_claim(claims, "source-internal", bool, default=False),
    )
    if grant.max_bytes < 0:
        raise InvalidToken("The token's maxbytes is negative.")
    return grant


def _claim(claims: Mapping[str, Any], name: str, kind: type[_T], default: _T | None = None) -> _T:
    value = claims.get(name, default)
    # bool is an int to Python, not to JSON.
    if type(value) is not kind:
        raise InvalidToken(f"The token's {name} is missing or of the wrong type.")
    # JSON can escape what no database takes: half of a surrogate pair, and to PostgreSQL, NUL.
    if isinstance(value, str) and _UNKEEPABLE.search(value):
        raise InvalidToken(f"The token's {name} is no text.")
    return value


@lru_cache
def _verifier(paths: tuple[str, ...], issuer: str) -> TokenVerifier:
    return TokenVerifier((key for path in paths for key in load_keys(Path(path))), issuer)


def verify_token(token: str) -> Grant:
    """Verify against the configured keys (CAS_TOKEN_KEYS); raise InvalidToken."""
    return _verifier(tuple(settings.CAS_TOKEN_KEYS), settings.CAS_TOKEN_ISSUER).verify(token)
