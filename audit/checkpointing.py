"""Writes checkpoints when it is time, unless the trail has lost the last."""

import time
import uuid
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.utils import timezone

from audit import chain, keys, last_checkpoint
from audit.checkpoints import ACTION, SUBJECT, payload_of
from audit.events import go_timestamp
from audit.models import AuditEvent, State, TrailHead
from audit.statements import Checkpoint, go_time
from common.transactions import write_transaction

IDLE = timedelta(hours=1)  # between two checkpoints when nothing happens: a tail that is cut off shows by its age


def checkpoint_if_due() -> AuditEvent | None:
    """Write a checkpoint when it is time for one; return its event.

    Raises keys.KeyFileError, and last_checkpoint.LostCheckpointError.
    """
    head = TrailHead.objects.filter(pk=1).first()
    is_due = head is not None and _is_due(head)
    reached = last_checkpoint.follow(head, to_sign=is_due)
    if not is_due:
        return None
    key = keys.signing_key()
    with write_transaction():
        head = TrailHead.locked()
        if not _is_due(head):
            return None
        if reached is not None:  # what was sealed since, and nothing else
            last_checkpoint.lead_on(reached, head)
        statement, event = _write(head, key)
    last_checkpoint.keep(statement)
    return event


def age() -> float | None:
    """Seconds since the last checkpoint, or until it, which is as wrong; None when there is none."""
    last = TrailHead.objects.filter(pk=1).values_list("checkpointed_at", flat=True).first()
    return None if last is None else abs((timezone.now() - last).total_seconds())


def _is_due(head: TrailHead) -> bool:
    if not head.position:
        return False
    if head.checkpointed_at is None:
        return True
    has_moved = head.position > head.checkpoint_position
    pause = timedelta(seconds=settings.CAS_CHECKPOINT_SECONDS) if has_moved else IDLE
    since = timezone.now() - head.checkpointed_at
    return not timedelta(0) <= since < pause  # a clock that was set back must not stop them


def _write(head: TrailHead, key: Ed25519PrivateKey | None) -> tuple[Checkpoint, AuditEvent]:
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
    statement = statement.signed_with(key) if key else statement
    event = AuditEvent(
        event_id=uuid.uuid4(),
        occurred_at=now,
        action=ACTION,
        subject=SUBJECT,
        payload=payload_of(statement),
        state=State.of_new_events(),
        position=head.position + 1,
    )
    values = [getattr(event, name) for name in chain.FIELDS]
    event.link = chain.link_of(bytes(head.link), head.position + 1, values)
    event.save()
    head.position, head.link, head.sealed_at = head.position + 1, event.link, now
    head.checkpoint_number, head.checkpoint_position, head.checkpointed_at = statement.number, head.position, now
    head.save()
    return statement, event
