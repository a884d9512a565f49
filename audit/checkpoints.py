"""Checkpoints as events: signed, in the trail itself, published as any other, they say what the chain was.

A checkpoint stands right behind the event that it speaks of, in the same transaction. So whoever scans the trail
compares it with what they have just computed, and whoever reads the stream holds a copy that nobody with only the
database can take back. The reference for the idea: CloudTrail's digest files, checkpoints of transparency logs.
"""

import json
from datetime import datetime
from hashlib import sha256
from typing import Any

from audit.events import go_json
from audit.models import State
from audit.statements import Checkpoint, go_time
from audit.trail_rows import TrailRow

ACTION = "CASTrailCheckpointed"
TARGET_TYPE = "CASTrail"
SUBJECT = f"audit.castrail.{ACTION.lower()}"


def payload_of(statement: Checkpoint) -> str:
    """The message as published, in the envelope and the JSON of every audit event."""
    identity: dict[str, Any] = {
        "ActionType": ACTION,
        "TargetType": TARGET_TYPE,
        "TargetID": statement.trail_id,
        "Info": statement.info(),
        "OrgID": None,
        "UserID": None,
    }
    data = {
        "ActionType": ACTION,
        "TargetType": TARGET_TYPE,
        "TargetID": statement.trail_id,
        "ActorType": "SYSTEM",
        "ActorID": None,
        "ActorEmail": "",
        "ActorName": "",
        "OrgID": None,
        "Description": f"checkpoint {statement.number} of the trail, at position {statement.position}",
        "Info": statement.info(),
        "Digest": f"sha256:{sha256(go_json(identity).encode()).hexdigest()}",
    }
    return go_json({"EventType": "AUDIT_EVENT", "Timestamp": statement.time, "Data": data})


def statement_in(payload: object) -> Checkpoint | None:
    """The checkpoint in a payload as it is stored; None when there is none in it."""
    try:
        return Checkpoint.of(json.loads(str(payload)))
    except (ValueError, RecursionError):
        return None


def is_of_its_time(statement: Checkpoint, occurred_at: object) -> bool:
    """Whether its event has the time that was signed, as each that was written here has."""
    return isinstance(occurred_at, datetime) and statement.time == go_time(occurred_at)


def statement_of(row: TrailRow, trail_id: str) -> Checkpoint | None:
    """The checkpoint of this trail in a row; none that the stream brought, which anybody may publish."""
    if row["action"] != ACTION or row.state == State.MIRRORED:
        return None
    statement = statement_in(row["payload"])
    return statement if statement is not None and statement.trail_id == trail_id else None
