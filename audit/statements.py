"""What is signed: that the trail had a link at a position, and that retention removed a stretch of it. No database.

A signature is Ed25519 (RFC 8032) over a few lines of text, as checkpoints of transparency logs are, so that other tools
can check them.
"""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import Enum
from hashlib import sha256
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from audit import chain
from audit.events import go_timestamp


def go_time(moment: datetime) -> str:
    """An aware time as statements have it."""
    return go_timestamp(chain.microseconds_of(moment) * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signed:
    key_id: str = ""
    signature: str = ""  # Base64; empty when there was no key

    @property
    def text(self) -> bytes:
        """What is signed: the kind of statement, then its members, a line each."""
        lines = (f"artifact-cas {type(self).__name__.lower()}", *self._members())
        return "".join(f"{line}\n" for line in lines).encode()

    def _members(self) -> list[Any]:
        return [value for name, value in asdict(self).items() if name not in {"key_id", "signature"}]

    def signed_with(self, key: Ed25519PrivateKey) -> Self:
        signature = base64.b64encode(key.sign(self.text)).decode()
        return replace(self, key_id=key_id_of(key.public_key()), signature=signature)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint(_Signed):
    """The trail had `link` (hex) at `position`. Times are RFC 3339; `number` counts the trail's checkpoints from 1."""

    trail_id: str
    number: int
    time: str
    position: int
    link: str
    previous_time: str  # of the checkpoint before this; empty for the first

    @classmethod
    def of(cls, payload: object) -> Self | None:
        """The checkpoint in a whole event, given as parsed JSON; None when there is none in it."""
        match payload:
            case {"Data": {"ActionType": "CASTrailCheckpointed", "Info": {**info}}}:
                return cls._of_info(info)
        return None

    @classmethod
    def _of_info(cls, info: Mapping[Any, Any]) -> Self | None:
        kinds = {"number": int, "position": int}
        names = tuple(cls.__dataclass_fields__)
        if set(info) != set(names) or any(type(info[name]) is not kinds.get(name, str) for name in names):
            return None
        return None if any("\n" in str(value) for value in info.values()) else cls(**info)

    def info(self) -> dict[str, Any]:
        """The members of `Data.Info`, in their order."""
        values = asdict(self)
        return {name: values[name] for name in sorted(values, key=lambda name: name in {"key_id", "signature"})}


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal(_Signed):
    """Retention removed these positions. `previous_link` is of the position before the first, `link` of the last.

    All events were of before `expired_before`; `checkpoint_number` is of the last checkpoint up to the last position,
    in decimal, or "". Statements of before there were these two have "" for the first, and are signed without both.
    """

    trail_id: str
    first_position: int
    last_position: int
    previous_link: str
    link: str
    removed_at: str
    expired_before: str = ""
    checkpoint_number: str = ""

    def _members(self) -> list[Any]:
        members = _Signed._members(self)  # not super(): a dataclass with slots is another class than the one it names
        return members if self.expired_before else members[:-2]


class Verdict(Enum):
    VALID = "valid"
    UNSIGNED = "not signed"
    UNKNOWN_KEY = "signed with a key that was not given"
    FORGED = "not what was signed"
    UNCHECKED = "not checked"


class KeyRing:
    """The public keys to check statements with; with none, nothing is checked."""

    def __init__(self, keys: Iterable[Ed25519PublicKey] = ()) -> None:
        self._keys = {key_id_of(key): key for key in keys}

    def __bool__(self) -> bool:
        return bool(self._keys)

    def judge(self, statement: _Signed) -> Verdict:
        if not statement.signature:
            return Verdict.UNSIGNED
        if not self._keys:
            return Verdict.UNCHECKED
        key = self._keys.get(statement.key_id)
        if key is None:
            return Verdict.UNKNOWN_KEY
        try:
            key.verify(base64.b64decode(statement.signature, validate=True), statement.text)
        except (InvalidSignature, ValueError):
            return Verdict.FORGED
        return Verdict.VALID


def key_id_of(key: Ed25519PublicKey) -> str:
    """Tells keys apart: the first 16 hex digits of the SHA-256 of the public key's 32 bytes."""
    return sha256(key.public_bytes_raw()).hexdigest()[:16]
