"""The control plane's tokens: ES512-signed JWTs (docs/tokens.md), verified once and remembered for their life.

The claims are those of Chainloop's `internal/robotaccount/cas`.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

import jwt

from artifacts.exceptions import InvalidToken
from artifacts.token_keys import ALGORITHM, TokenKey
from common.storable_text import is_storable

AUDIENCE = "artifact-cas.chainloop"
UPLOADER = "uploader"
DOWNLOADER = "downloader"

_T = TypeVar("_T")

_TIMES = frozenset({"exp", "nbf", "iat"})

_REMEMBERED = 10_000  # tokens; a few hundred bytes each


@dataclass(frozen=True, slots=True)
class Grant:
    """What a verified token allows; `max_bytes` 0 means no limit, `org_id` is as the token has it."""

    role: str
    backend: str
    secret_id: str
    max_bytes: int = 0
    org_id: str = ""
    source_internal: bool = False


class UnknownKey(InvalidToken):
    """None of the keys signed it: one that is not known yet may have."""


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
        refusal: InvalidToken = UnknownKey("The token is signed by no known key.")
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
    if isinstance(value, str) and not is_storable(value):
        raise InvalidToken(f"The token's {name} is no text.")
    return value
