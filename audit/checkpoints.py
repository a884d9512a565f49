"""Checkpoints: signed events that say what the chain was, written into the trail itself and published as any other.

A checkpoint stands right behind the event that it speaks of, in the same transaction. So whoever scans the trail
compares it with what they have just computed, and whoever reads the stream holds a copy that nobody with only the
database can take back. The reference for the idea: CloudTrail's digest files, checkpoints of transparency logs.
"""

import json
import logging
import time
import uuid
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.utils import timezone

from audit import chain, keys
from audit.events import go_json, go_timestamp
from audit.models import AuditEvent, State, TrailHead
from audit.statements import Checkpoint, go_time
from audit.trail_rows import TrailRow
from common.transactions import write_transaction

logger = logging.getLogger(__name__)

ACTION = "CASTrailCheckpointed"
TARGET_TYPE = "CASTrail"
SUBJECT = f"audit.castrail.{ACTION.lower()}"
IDLE = timedelta(hours=1)  # between two checkpoints when nothing happens: a tail that is cut off shows by its age


def checkpoint_if_due() -> AuditEvent | None:
    """Write a checkpoint when it is time for one; return its event. Raises keys.KeyFileError."""
    head = TrailHead.objects.filter(pk=1).first()
    if head is None or not _is_due(head):
        return None
    key = keys.signing_key()
    with write_transaction():
        head = TrailHead.locked()
        return _write(head, key) if _is_due(head) else None


def _is_due(head: TrailHead) -> bool:
    if not head.position:
        return False
    if head.checkpointed_at is None:
        return True
    has_moved = head.position > head.checkpoint_position
    pause = timedelta(seconds=settings.CAS_CHECKPOINT_SECONDS) if has_moved else IDLE
    age = timezone.now() - head.checkpointed_at
    return not timedelta(0) <= age < pause  # a clock that was set back must not stop them


def _write(head: TrailHead, key: Ed25519PrivateKey | None) -> AuditEvent:
    now_ns = time.time_ns() // 1000 * 1000
    now = chain.time_of(now_ns // 1000)
    statement = Checkpoint(
        trail_id=str(head.trail_id),
        number=head.checkpoint_number + 1,
        time=go_timestamp(now_ns),
        position=head.position,
        link=bytes(head.link).hex(),
        previous_time="" if head.checkpointed_at is None else go_time(head.checkpointed_at),
    )
    event = AuditEvent(
        event_id=uuid.uuid4(),
        occurred_at=now,
        action=ACTION,
        subject=SUBJECT,
        payload=payload_of(statement.signed_with(key) if key else statement),
        state=State.of_new_events(),
        position=head.position + 1,
    )
    values = [getattr(event, name) for name in chain.FIELDS]
    event.link = chain.link_of(bytes(head.link), head.position + 1, values)
    event.save()
    head.position, head.link, head.sealed_at = head.position + 1, event.link, now
    head.checkpoint_number, head.checkpoint_position, head.checkpointed_at = statement.number, head.position, now
    head.save()
    return event


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
