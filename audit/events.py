"""The event vocabulary: from values to the exact bytes that are published. Pure: no Django.

Follows Chainloop's `pkg/auditor/events/casartifact.go` and what Go's encoding/json makes of it.
"""

import json
import re
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import Literal, NamedTuple
from uuid import UUID

TARGET_TYPE = "CASArtifact"

NANOSECONDS = 1_000_000_000  # of a second


class Action(StrEnum):
    UPLOADED = "CASArtifactUploaded"
    DOWNLOADED = "CASArtifactDownloaded"


class Kind(StrEnum):
    """What became of a transfer's bytes, as people and sums tell them apart."""

    UPLOADED = "uploaded"
    DEDUPLICATED = "deduplicated"
    DOWNLOADED = "downloaded"


def kind_of(action: str, *, is_skipped: object) -> Kind | Literal[""]:
    """The kind, or "" for what is no transfer."""
    if action == Action.DOWNLOADED:
        return Kind.DOWNLOADED
    if action == Action.UPLOADED:
        return Kind.DEDUPLICATED if is_skipped else Kind.UPLOADED
    return ""


class Event(NamedTuple):
    """One audit entry. `digest` is bare hex; `skipped` is for uploads alone; "" means unknown."""

    event_id: UUID
    timestamp_ns: int  # since the Unix epoch
    action: Action
    org_id: UUID
    digest: str
    size_bytes: int
    file_name: str
    backend: str
    location: str
    skipped: bool = False

    @property
    def occurred_at(self) -> datetime:
        """The timestamp to the microsecond, which is what databases keep."""
        whole, nanoseconds = divmod(self.timestamp_ns, NANOSECONDS)
        return datetime.fromtimestamp(whole, UTC).replace(microsecond=nanoseconds // 1000)

    @property
    def subject(self) -> str:
        """Where it is published."""
        return subject_of(self.action)

    def info(self) -> str:
        """`Data.Info`, compact JSON."""
        # Put together, here and in `payload`: little of it can need escaping, and every transfer waits for it.
        info = f'{{"digest":"{self.digest}","size_bytes":{self.size_bytes}'
        if self.file_name:
            info += f',"file_name":{go_json(self.file_name)}'
        if self.backend:
            info += f',"backend_type":{go_json(self.backend)}'
        if self.action is Action.UPLOADED:
            info += f',"skipped":{"true" if self.skipped else "false"}'
        return info + "}"

    def description(self) -> str:
        if self.skipped:
            return f"upload of artifact {self.digest} skipped, already exists"
        verb = "uploaded" if self.action is Action.UPLOADED else "downloaded"
        return f"artifact {self.digest} ({self.size_bytes} bytes) was {verb}"

    def payload(self) -> str:
        """The message as published, compact JSON."""
        info, org_id = self.info(), str(self.org_id)
        return (
            f'{{"EventType":"AUDIT_EVENT","Timestamp":"{go_timestamp(self.timestamp_ns)}","Data":{{'
            f'"ActionType":"{self.action}","TargetType":"{TARGET_TYPE}","TargetID":null,'
            f'"ActorType":"SYSTEM","ActorID":null,"ActorEmail":"","ActorName":"","OrgID":"{org_id}",'
            f'"Description":"{self.description()}","Info":{info},"Digest":"{_entry_digest(self, info, org_id)}"}}}}'
        )


def _entry_digest(event: Event, info: str, org_id: str) -> str:
    """`Data.Digest`: SHA-256 over what identifies the entry, as `sha256:<hex>`."""
    identity = (
        f'{{"ActionType":"{event.action}","TargetType":"{TARGET_TYPE}","TargetID":null,"Info":{info},'
        f'"OrgID":"{org_id}","UserID":null}}'
    )
    return f"sha256:{sha256(identity.encode()).hexdigest()}"


def subject_of(action: str) -> str:
    """The subject of an action type."""
    return f"audit.casartifact.{action.lower()}"


# What nothing escapes, as are most texts that a transfer waits for.
_PLAIN = re.compile(r"[ !#-%'-;=?-\[\]-~]*")
# What Go escapes inside strings and Python does not; a lone surrogate is what Go sees as invalid UTF-8.
_GO_ESCAPES = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def go_json(value: object) -> str:
    """Compact JSON as Go's encoding/json writes it (Go 1.22 and later, HTML escaping on)."""
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return f'"{value}"'
    text = _encode(value)
    # All of these characters can stand only inside strings.
    return _GO_ESCAPES.sub(_go_escape, text)


def _go_escape(match: re.Match[str]) -> str:
    char = match[0]
    return "\\ufffd" if "\ud800" <= char <= "\udfff" else f"\\u{ord(char):04x}"


def go_timestamp(timestamp_ns: int) -> str:
    """RFC 3339 in UTC as Go's time.Time marshals it: nanoseconds without trailing zeros."""
    whole, nanoseconds = divmod(timestamp_ns, NANOSECONDS)
    fraction = f".{nanoseconds:09d}".rstrip("0").rstrip(".")
    return f"{_go_second(whole)}{fraction}Z"


@lru_cache
def _go_second(timestamp: int) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%dT%H:%M:%S}"
