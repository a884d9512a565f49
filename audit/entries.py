"""What can be told of a message that anybody may have published. Pure, and never raises, whatever the message holds."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from common.storable_text import storable

_LARGEST = 2**50  # bytes: larger than any artifact, and small enough for sums of thousands of such claims
# RFC 3339: `datetime.fromisoformat` alone also takes forms that it does not have.
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Entry:
    """An audit event's values; "" or None where it has none, or none of the known form."""

    time: datetime | None = None
    action: str = ""
    org_id: UUID | None = None
    digest: str = ""
    size_bytes: int | None = None  # absent is 0
    file_name: str = ""
    backend: str = ""
    skipped: bool | None = None  # absent is False

    @property
    def can_count(self) -> bool:
        """Whether it has all that usage goes by, in the known form."""
        return None not in (self.time, self.org_id, self.size_bytes, self.skipped)


def read_entry(payload: bytes) -> Entry | None:
    """The audit event in this payload; None when it is none."""
    try:
        event = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or event.get("EventType") != "AUDIT_EVENT":
        return None
    data = event.get("Data")
    if not isinstance(data, dict):
        return None
    info = data.get("Info")
    if not isinstance(info, dict):
        info = {}
    digest, skipped = info.get("digest"), info.get("skipped", False)
    return Entry(
        time=_time(event.get("Timestamp")),
        action=_text(data.get("ActionType")),
        org_id=read_uuid(data.get("OrgID")),
        digest=digest if isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest) else "",
        size_bytes=_size(info.get("size_bytes", 0)),
        file_name=_text(info.get("file_name")),
        backend=_text(info.get("backend_type")),
        skipped=skipped if isinstance(skipped, bool) else None,
    )


def read_uuid(value: Any) -> UUID | None:
    """A UUID in its usual form; None for anything else."""
    try:
        uuid = UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return uuid if uuid and str(uuid) == value.lower() else None  # not in braces, nor as a URN


def _time(value: Any) -> datetime | None:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _size(value: Any) -> int | None:
    is_size = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST
    return value if is_size else None


def _text(value: Any) -> str:
    return storable(value) if isinstance(value, str) else ""
