"""Checkpoints that were kept elsewhere, such as those in the stream: the trail must still agree with them."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import Enum
from uuid import UUID

from audit import removals, trail_rows
from audit.checkpoints import statement_in
from audit.findings import Finding
from audit.models import RemovedEvents, TrailHead
from audit.statements import Checkpoint, KeyRing, Verdict


class Place(Enum):
    """Where a witness is that the trail agrees with."""

    IN_TRAIL = "in the trail"
    REMOVED = "in a stretch that retention removed"


def checkpoints_in(lines: Iterable[str]) -> Iterator[Checkpoint]:
    """The checkpoints among lines that `audit_stream read` printed, or that are events; others are skipped."""
    for line in lines:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        event = value.get("event", value) if isinstance(value, dict) else None
        if (statement := Checkpoint.of(event)) is not None:
            yield statement


def compare(witnesses: Iterable[Checkpoint], keys: KeyRing) -> Iterator[Finding | Place]:
    """Where each witness is that the trail agrees with, and a finding for each other; other trails' are skipped."""
    head = TrailHead.objects.filter(pk=1).first()
    trail_id = head.trail_id if head else None
    for witness in witnesses:
        verdict = keys.judge(witness)
        is_foreign = witness.trail_id != str(trail_id)
        if is_foreign and verdict in {Verdict.UNKNOWN_KEY, Verdict.UNCHECKED, Verdict.UNSIGNED}:
            continue
        name = f"checkpoint {witness.number} of {witness.time}, which was given,"
        outcome: Place | str
        if verdict in _refused(keys):
            outcome = f"is {verdict.value}"
        elif trail_id is None or is_foreign:
            outcome = f"is of another trail, {witness.trail_id}: this one took its place"
        else:
            outcome = _place_of(witness, keys, trail_id)
        yield outcome if isinstance(outcome, Place) else Finding(f"{name} {outcome}", witness.position + 1)


def _refused(keys: KeyRing) -> set[Verdict]:
    return {Verdict.FORGED, Verdict.UNKNOWN_KEY, *([Verdict.UNSIGNED] if keys else [])}


def _place_of(witness: Checkpoint, keys: KeyRing, trail_id: UUID) -> Place | str:
    """Where it is, or what is wrong."""
    rows = trail_rows.read("position = %s", [witness.position + 1])
    if any(statement_in(row["payload"]) == witness for row in rows):
        return _problem_before(witness) or Place.IN_TRAIL
    # After the rows: whoever removes one writes its note in the same transaction.
    removed = removals.covering(witness.position + 1)
    if removed is None:
        return "is not in the trail: its end was cut off, or it was written anew"
    return problem_of_removal(witness, removed, keys, trail_id) or _problem_before(witness) or Place.REMOVED


def _problem_before(witness: Checkpoint) -> str:
    rows = trail_rows.read("position = %s", [witness.position])
    links = [row.link.hex() if row.link else "" for row in rows]
    # Of what retention removed, the link of the last event is known.
    noted = RemovedEvents.objects.filter(last_position=witness.position)
    links += [] if rows else [bytes(note.link).hex() for note in noted]
    return "was signed over other events than stand before it" if set(links) - {witness.link} else ""


def problem_of_removal(witness: Checkpoint, removed: RemovedEvents, keys: KeyRing, trail_id: UUID) -> str:
    """What tells that retention did not remove this checkpoint, or not as it was."""
    verdict = keys.judge(removals.statement_of(trail_id, removed))
    if verdict in _refused(keys):
        return f"is not in the trail, and the note that retention removed {removed} is {verdict.value}"
    time = _time_of(witness)
    # A note of an earlier version tells only when it was written.
    if time is None or time >= (removed.expired_before or removed.removed_at):
        return f"is not in the trail, and had not expired when retention removed {removed}, or so it says there"
    if removed.checkpoint_number is not None and removed.checkpoint_number < witness.number:
        return f"is not in the trail: retention removed {removed}, up to checkpoint {removed.checkpoint_number}"
    return ""


def _time_of(witness: Checkpoint) -> datetime | None:
    try:
        time = datetime.fromisoformat(witness.time)  # of what is not signed, whatever somebody wrote
    except ValueError:
        return None
    return time if time.tzinfo else None
