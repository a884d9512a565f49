"""The checkpoint that this machine saw last, in a file: what is signed next must be reached from it.

Who can write to the database alone can cut off the end of the trail or write it anew, and set back all there that tells
of it. The file is out of reach: the chain is computed from it to the head, so that all that a machine signs is one
chain. The reference for the idea: whoever follows a transparency log takes no tree that does not contain the last.
"""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

from django.conf import settings
from django.db import DataError

from audit import keys, removals, trail_rows, witnesses
from audit.chain_reading import Moved, TamperedError, end_of, linked
from audit.chain_signatures import ensure_place
from audit.checkpoints import is_of_its_time, payload_of, statement_in, statement_of
from audit.models import RemovedEvents, TrailHead
from audit.outages import Outage
from audit.statements import Checkpoint, KeyRing, Removal, Verdict
from common.folders import write_whole

SECONDS = 10.0  # of a run; the same worker publishes
_TRIES = 5  # to read what retention removes meanwhile

logger = logging.getLogger(__name__)
_unwritable = Outage(logger, logging.ERROR)


class LostCheckpointError(Exception):
    """The trail does not lead on from the checkpoint that was seen last, or that cannot be told; the text says why."""


class Reached(NamedTuple):
    """A place in the chain, computed from the checkpoint that is kept."""

    position: int
    link: bytes
    number: int | None  # of the last checkpoint up to there, if known
    last: Checkpoint  # up to there that is to be kept: whoever wrote it had our key, where we have one


class _Progress:
    """How far this process has come from the checkpoint that is kept: what is long takes several runs."""

    kept: Checkpoint | None = None
    reached: Reached


def read() -> Checkpoint | None:
    """What is kept; raises LostCheckpointError when that cannot be told."""
    try:
        statement = statement_in(_file().read_text())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise LostCheckpointError(f"{_file()} cannot be read: {error}") from error
    if statement is None:
        raise LostCheckpointError(f"{_file()} holds no checkpoint. Move it away if you know why.")
    return statement


def keep(statement: Checkpoint) -> None:
    """Keep what was signed, as `verify_trail --checkpoint` reads it; if that fails, the next is signed all the same."""
    try:
        write_whole(_file(), payload_of(statement), is_synced=True)
    except OSError as error:
        _unwritable.goes_on(f"The last checkpoint cannot be kept in {_file()}", error)
    else:
        _unwritable.is_over("The last checkpoint is kept again")


def begin(head: TrailHead) -> None:
    """Keep the last checkpoint of the trail, by a machine that has kept none."""
    for row in trail_rows.read("position = %s", [head.checkpoint_position]):
        statement = statement_of(row, str(head.trail_id))
        if statement is None or not is_of_its_time(statement, row["occurred_at"]):
            continue
        is_last = (statement.number, statement.position + 1) == (head.checkpoint_number, row.position)
        if is_last and _is_vouching(statement, _ring()):
            keep(statement)


def follow(kept: Checkpoint, head: TrailHead | None, *, to_sign: bool) -> Reached | None:
    """The head, reached from the checkpoint that is kept; the last one on the way is kept from now on.

    The head is read after that. None where nobody is about to sign, nor has since, and where the way
    takes longer than SECONDS: it goes on from there. Raises LostCheckpointError, and keys.KeyFileError.
    """
    if head is None:
        raise _lost(kept, "has gone with the whole trail.")
    start = _start(kept, head)
    if not to_sign and kept.number == head.checkpoint_number:
        return None
    if _Progress.kept == kept and _Progress.reached.position > start.position:
        start = _Progress.reached
    deadline = time.monotonic() + SECONDS
    reached = _walk_somehow(kept, start, head, deadline)
    _Progress.kept, _Progress.reached = kept, reached
    if reached.position < head.position and time.monotonic() > deadline:
        return None
    _compare(reached, head)
    if reached.last != kept:
        keep(reached.last)
    return reached


def lead_on(reached: Reached, locked: TrailHead) -> Reached | None:
    """The head that nobody else changes now, reached from there; None if retention removed what is in between."""
    try:
        reached = _walk(reached, locked, math.inf)
    except Moved:
        return None
    _compare(reached, locked)
    return reached


def _walk_somehow(kept: Checkpoint, start: Reached, head: TrailHead, deadline: float) -> Reached:
    for _ in range(_TRIES):
        try:
            return _walk(start, head, deadline)
        except Moved:
            start = _start(kept, head)
    raise _lost(kept, "is followed by events where retention removed all.")


def _start(kept: Checkpoint, head: TrailHead) -> Reached:
    if kept.trail_id != str(head.trail_id):
        raise _lost(kept, f"is of another trail, {kept.trail_id}: this one took its place.")
    if head.position <= kept.position:
        raise _lost(kept, f"is not in the trail, which ends at position {head.position}.")
    with _told(kept):
        rows = trail_rows.read("position = %s", [kept.position + 1])
        if rows:
            if statement_of(rows[0], kept.trail_id) != kept or not is_of_its_time(kept, rows[0]["occurred_at"]):
                raise TamperedError("it is not where it was.")
            return Reached(kept.position, bytes.fromhex(kept.link), kept.number - 1, kept)
        # After the row: whoever removes one writes its note in the same transaction.
        note = removals.covering(kept.position + 1)
        if note is None:
            raise TamperedError("it is not in the trail.")
        if problem := witnesses.problem_of_removal(kept, note, _ring(), head.trail_id):
            raise TamperedError(f"it {problem}.")
        return Reached(note.last_position, bytes(note.link), note.checkpoint_number, kept)


def _walk(reached: Reached, head: TrailHead, deadline: float) -> Reached:
    """As far as there are events up to the head, or as the time allows; raises Moved."""
    position, before, number, last = reached
    trail_id, ring = str(head.trail_id), cache(_ring)

    def vouch(note: RemovedEvents) -> None:
        if not _is_vouching(removals.statement_of(head.trail_id, note), ring()):
            raise TamperedError(f"{removals.name_of(note)} is not what a known key signed.")

    with _told(last):
        for item, link in linked(position + 1, before, head.position, vouch):
            if isinstance(item, RemovedEvents):
                number = item.checkpoint_number
            elif (statement := statement_of(item, trail_id)) is not None:
                ensure_place(item, statement, before, number)
                number = statement.number
                if statement == last or _is_to_be_kept(statement, ring()):
                    last = statement
            position, before = end_of(item), link
            if time.monotonic() > deadline:
                break
    return Reached(position, before, number, last)


def _compare(reached: Reached, head: TrailHead) -> None:
    with _told(reached.last):
        if (reached.position, reached.link) != (head.position, bytes(head.link)):
            raise TamperedError(f"The head of the trail, at position {head.position}, is not what the events come to.")
        if reached.number not in {None, head.checkpoint_number}:
            raise TamperedError(f"The head of the trail counts {head.checkpoint_number} checkpoints.")


def _is_to_be_kept(statement: Checkpoint, ring: KeyRing) -> bool:
    """Not what anybody can write, who could then take it away again."""
    if ring.judge(statement) is Verdict.FORGED:
        raise TamperedError(f"Checkpoint {statement.number} is not what was signed.")
    return _is_vouching(statement, ring)


def _is_vouching(statement: Checkpoint | Removal, ring: KeyRing) -> bool:
    """Where there is no key, whatever it says."""
    return not ring or ring.judge(statement) is Verdict.VALID


def _ring() -> KeyRing:
    return keys.known_keys(keys.signing_key())


@contextmanager
def _told(last: Checkpoint) -> Iterator[None]:
    """What is wrong in here is told as that of the trail behind this checkpoint."""
    try:
        yield
    except TamperedError as error:
        raise _lost(last, f"does not lead to the end: {error}") from error
    except (TypeError, ValueError, OverflowError, AttributeError, DataError) as error:
        raise _lost(last, f"is followed by a value that is none of its kind: {error}.") from error


def _lost(last: Checkpoint, problem: str) -> LostCheckpointError:
    return LostCheckpointError(
        f"checkpoint {last.number} of {last.time}, the last that was seen, {problem} See verify_trail --checkpoint "
        f"{_file()}. If a backup was put back on purpose, move that file away."
    )


def _file() -> Path:
    folder: Path = settings.CAS_DATA_DIR
    return folder / "last-checkpoint.json"
