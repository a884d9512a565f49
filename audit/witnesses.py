"""Checkpoints that were kept elsewhere, such as those in the stream: the trail must still agree with them."""

import json
from collections.abc import Iterable, Iterator

from audit import removals, trail_rows
from audit.checkpoints import statement_in
from audit.findings import Finding
from audit.models import TrailHead
from audit.statements import Checkpoint, KeyRing, Verdict


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


def compare(witnesses: Iterable[Checkpoint], keys: KeyRing) -> Iterator[Finding | Checkpoint]:
    """Each witness that the trail agrees with, and a finding for each other; those of other trails are skipped."""
    head = TrailHead.objects.filter(pk=1).first()
    trail_id = str(head.trail_id) if head else ""
    for witness in witnesses:
        verdict = keys.judge(witness)
        if witness.trail_id != trail_id and verdict in {Verdict.UNKNOWN_KEY, Verdict.UNCHECKED, Verdict.UNSIGNED}:
            continue
        problem = _problem_of(witness, verdict, trail_id, is_checked=bool(keys))
        yield Finding(problem, witness.position + 1) if problem else witness


def _problem_of(witness: Checkpoint, verdict: Verdict, trail_id: str, *, is_checked: bool) -> str:
    name = f"checkpoint {witness.number} of {witness.time}, which was given,"
    if verdict in {Verdict.FORGED, Verdict.UNKNOWN_KEY} or (verdict is Verdict.UNSIGNED and is_checked):
        return f"{name} is {verdict.value}"
    if witness.trail_id != trail_id:
        return f"{name} is of another trail, {witness.trail_id}: this one took its place"
    if removals.covering(witness.position + 1):
        return ""
    rows = trail_rows.read("position = %s", [witness.position + 1])
    if not any(statement_in(row["payload"]) == witness for row in rows):
        return f"{name} is not in the trail: its end was cut off, or it was written anew"
    before = trail_rows.read("position = %s", [witness.position])
    if any(row.link is None or row.link.hex() != witness.link for row in before):
        return f"{name} was signed over other events than stand before it"
    return ""
