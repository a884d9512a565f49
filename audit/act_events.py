"""What a person did in the admin, as an event: from values to the exact bytes that are published. Pure: no Django.

The envelope is that of every audit event, and so are its conventions: what is acted on is the target, whose type is
in the subject too. `ActorID` and `TargetID` are UUIDs there, which people and locations here do not have: their keys
are in `Info`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any
from uuid import UUID

from audit.events import go_json, go_timestamp

LONGEST_TEXT = 500  # characters of one value
MOST_ITEMS = 50  # of a list or an object

_PREFIX = "CAS"


class Act(StrEnum):
    """What was done; behind the target's type it is the action: `CASUserSignedIn`."""

    SIGNED_IN = "SignedIn"
    SIGN_IN_FAILED = "SignInFailed"
    LOCKED_OUT = "LockedOut"
    SIGNED_OUT = "SignedOut"
    SIGNED_OUT_EVERYWHERE = "SignedOutEverywhere"
    PASSWORD_CHANGED = "PasswordChanged"  # noqa: S105
    TWO_FACTOR_ENABLED = "TwoFactorEnabled"
    TWO_FACTOR_DISABLED = "TwoFactorDisabled"
    TWO_FACTOR_RESET = "TwoFactorReset"
    RECOVERY_CODES_MADE = "RecoveryCodesMade"
    ADDED = "Added"
    CHANGED = "Changed"
    DELETED = "Deleted"
    TESTED = "Tested"
    EXPORTED = "Exported"
    DOWNLOADED = "DownloadedByHand"  # an artifact, from its page: no transfer of a token's
    RETRIED = "Retried"
    REPLAYED = "Replayed"


# Of acts upon things, the thing follows: "changed location default". Of the others, who did it is the target.
WORDS = {
    Act.SIGNED_IN: "signed in",
    Act.SIGN_IN_FAILED: "sign-in failed",
    Act.LOCKED_OUT: "locked out",
    Act.SIGNED_OUT: "signed out",
    Act.SIGNED_OUT_EVERYWHERE: "signed out everywhere",
    Act.PASSWORD_CHANGED: "changed the password",
    Act.TWO_FACTOR_ENABLED: "turned two-factor on",
    Act.TWO_FACTOR_DISABLED: "turned two-factor off",
    Act.TWO_FACTOR_RESET: "reset two-factor of",
    Act.RECOVERY_CODES_MADE: "made recovery codes",
    Act.ADDED: "added",
    Act.CHANGED: "changed",
    Act.DELETED: "deleted",
    Act.TESTED: "tested",
    Act.EXPORTED: "exported",
    Act.DOWNLOADED: "downloaded by hand",
    Act.RETRIED: "retried",
    Act.REPLAYED: "replayed",
}
UPON_THINGS = frozenset(
    {
        *(Act.TWO_FACTOR_RESET, Act.ADDED, Act.CHANGED, Act.DELETED, Act.TESTED),
        *(Act.EXPORTED, Act.DOWNLOADED, Act.RETRIED, Act.REPLAYED),
    }
)


@dataclass(frozen=True, slots=True)
class Target:
    """What was acted on. `kind` is one word in CamelCase, such as "Location"; "" means that it has no key or name."""

    kind: str
    key: str = ""
    name: str = ""

    @property
    def type(self) -> str:
        return f"{_PREFIX}{self.kind}"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it, and the address of their client; without a key it is nobody whom we know."""

    key: str = ""
    name: str = ""
    email: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class ActEvent:
    """An act as the trail keeps it. It has a transfer's attributes too, each saying that there was none.

    Upon an artifact it has its digest and size: it is found with the artifact's transfers.
    """

    event_id: UUID
    timestamp_ns: int  # since the Unix epoch
    action: str
    subject: str
    text: str  # the message as published
    org_id: UUID | None = None
    digest: str = ""
    size_bytes: int = 0
    file_name: str = ""
    backend: str = ""
    location: str = ""
    skipped: bool = False

    @property
    def occurred_at(self) -> datetime:
        """The timestamp to the microsecond, which is what databases keep."""
        whole, nanoseconds = divmod(self.timestamp_ns, 1_000_000_000)
        return datetime.fromtimestamp(whole, UTC).replace(microsecond=nanoseconds // 1000)

    def payload(self) -> str:
        """The message as published, compact JSON."""
        return self.text


def act_event(
    event_id: UUID,
    timestamp_ns: int,
    act: Act,
    target: Target,
    actor: Actor,
    org_id: UUID | None,
    details: Mapping[str, Any],
) -> ActEvent:
    """The event of an act. Of its details `digest` and `size_bytes` are the event's own too; all are shortened."""
    action = f"{target.type}{act}"
    info = {
        "target_key": target.key,
        "target_name": _short(target.name),
        "actor_key": actor.key,
        "address": actor.address,
        **{str(name): _short(value) for name, value in details.items()},
    }
    info = {name: value for name, value in info.items() if value not in ("", None)}
    organization = None if org_id is None else str(org_id)
    identity: dict[str, Any] = {
        "ActionType": action,
        "TargetType": target.type,
        "TargetID": None,
        "Info": info,
        "OrgID": organization,
        "UserID": None,
    }
    data = {
        "ActionType": action,
        "TargetType": target.type,
        "TargetID": None,
        "ActorType": "USER" if actor.key else "SYSTEM",
        "ActorID": None,
        "ActorEmail": _short(actor.email),
        "ActorName": _short(actor.name),
        "OrgID": organization,
        "Description": " ".join(filter(None, (_short(actor.name), words_of(act, target.kind, _short(target.name))))),
        "Info": info,
        "Digest": f"sha256:{sha256(go_json(identity).encode()).hexdigest()}",
    }
    text = go_json({"EventType": "AUDIT_EVENT", "Timestamp": go_timestamp(timestamp_ns), "Data": data})
    subject = f"audit.{target.type.lower()}.{action.lower()}"
    of_artifact = {name: details[name] for name in ("digest", "size_bytes") if name in details}
    return ActEvent(event_id, timestamp_ns, action, subject, text, org_id, **of_artifact)


def words_of(act: Act, kind: str, name: str) -> str:
    """What was done in plain words, without who did it: "signed in", "changed location default"."""
    if act in UPON_THINGS:
        return " ".join(filter(None, (WORDS[act], _spaced(kind), name)))
    return f"{WORDS[act]}: {name}" if act in {Act.SIGN_IN_FAILED, Act.LOCKED_OUT} and name else WORDS[act]


def _spaced(kind: str) -> str:
    return "".join(f" {char.lower()}" if char.isupper() else char for char in kind).strip()


def _short(value: Any, depth: int = 3) -> Any:
    """The value with long texts cut, long lists too, and nothing in it that JSON does not have."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping) and depth:
        return {str(key)[:LONGEST_TEXT]: _short(value[key], depth - 1) for key in list(value)[:MOST_ITEMS]}
    if isinstance(value, list | tuple | set | frozenset) and depth:
        return [_short(item, depth - 1) for item in list(value)[:MOST_ITEMS]]
    text = str(value)
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
