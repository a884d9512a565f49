"""Writes checkpoints when it is time, unless the trail has lost the last."""

import time
import uuid
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.utils import timezone

from audit import chain, keys, last_checkpoint
from audit.checkpoints import ACTION, SUBJECT, payload_of
from audit.events import go_timestamp
from audit.last_checkpoint import Reached
from audit.models import AuditEvent, State, TrailHead
from audit.statements import Checkpoint, go_time
from common.transactions import write_transaction

Written = tuple[Checkpoint, AuditEvent]

IDLE = timedelta(hours=1)  # between two checkpoints when nothing happens: a tail that is cut off shows by its age


def checkpoint_if_due() -> AuditEvent | None:
    """Write a checkpoint when it is time for one; return its event.

    Raises keys.KeyFileError, and last_checkpoint.LostCheckpointError.
    """
    kept = last_checkpoint.read()
    head = TrailHead.objects.filter(pk=1).first()
    is_due = head is not None and _is_due(head, kept)
    key = keys.signing_key() if is_due else None
    if kept is not None:
        reached = last_checkpoint.follow(kept, head, to_sign=is_due)
        written = _write_behind(reached, key) if is_due and reached is not None else None
    else:
        if head is not None:
            last_checkpoint.begin(head)
        written = _write_first(key) if is_due else None
    if written is None:
        return None
    statement, event = written
    last_checkpoint.keep(statement)
    return event


def _write_behind(reached: Reached, key: Ed25519PrivateKey | None) -> Written | None:
    """A checkpoint over what is reached from there, unless someone else has written one."""
    with write_transaction():
        head = TrailHead.locked()
        end = last_checkpoint.lead_on(reached, head)
        if end is None or end.number != reached.number:
            return None
        return _write(head, key, end.last.time)


def _write_first(key: Ed25519PrivateKey | None) -> Written | None:
    """One over whatever there is, by a machine that has seen none."""
    with write_transaction():
        head = TrailHead.locked()
        return _write(head, key) if _is_due(head, None) else None


def age() -> float | None:
    """Seconds since the last checkpoint, or until it, which is as wrong; None when there is none."""
    last = TrailHead.objects.filter(pk=1).values_list("checkpointed_at", flat=True).first()
    return None if last is None else abs((timezone.now() - last).total_seconds())


def _is_due(head: TrailHead, kept: Checkpoint | None) -> bool:
    """Whether it is time by what the head says, which anybody may have written, or by what is kept."""
    if not head.position:
        return False
    if head.checkpointed_at is None or _is_over(head, head.checkpoint_position, head.checkpointed_at):
        return True
    return kept is not None and _is_over(head, kept.position + 1, datetime.fromisoformat(kept.time))


def _is_over(head: TrailHead, position: int, last: datetime) -> bool:
    has_moved = head.position > position
    pause = timedelta(seconds=settings.CAS_CHECKPOINT_SECONDS) if has_moved else IDLE
    return not timedelta(0) <= timezone.now() - last < pause  # a clock that was set back must not stop them


def _write(head: TrailHead, key: Ed25519PrivateKey | None, previous_time: str | None = None) -> Written:
    now_ns = time.time_ns() // 1000 * 1000
    now = chain.time_of(now_ns // 1000)
    if previous_time is None:
        previous_time = "" if head.checkpointed_at is None else go_time(head.checkpointed_at)
    statement = Checkpoint(
        trail_id=str(head.trail_id),
        number=head.checkpoint_number + 1,
        time=go_timestamp(now_ns),
        position=head.position,
        link=bytes(head.link).hex(),
        previous_time=previous_time,
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
