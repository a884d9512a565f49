"""The checkpoint that this machine saw last, in a file: what is signed next must be reached from it.

Who can write to the database alone can cut off the end of the trail or write it anew, and set back all there that tells
of it. The file is out of reach: the chain is computed from it to the head, so that all that a machine signs is one
chain. The reference for the idea: whoever follows a transparency log takes no tree that does not contain the last.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from django.conf import settings

from audit import chain, keys, removals, trail_rows
from audit.chain_reading import Moved, TamperedError, end_of, items
from audit.checkpoints import payload_of, statement_in, statement_of
from audit.models import RemovedEvents, TrailHead
from audit.outages import Outage
from audit.statements import Checkpoint, Verdict
from common.folders import write_whole

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
    last: Checkpoint  # that was met on the way


def follow(head: TrailHead | None, *, to_sign: bool) -> Reached | None:
    """Where the head was reached, from the checkpoint that is kept, and keep the last one on the way.

    None without one to begin with, and where nobody is about to sign, nor has since. Raises LostCheckpointError.
    """
    kept = _read()
    if kept is None:
        if head is not None:
            _begin(head)
        return None
    if head is None:
        raise _lost(kept, "has gone with the whole trail")
    if not to_sign and kept.number == head.checkpoint_number:
        return None
    with _any_value(kept):
        start = _start(kept, head)
    reached = lead_on(start, head)
    if reached.last != kept:
        keep(reached.last)
    return reached


def lead_on(reached: Reached, head: TrailHead) -> Reached:
    """The head as a place that was reached from this one; raises LostCheckpointError when it is not."""
    for _ in range(_TRIES):
        try:
            with _any_value(reached.last):
                return _walk(reached, head)
        except Moved:
            continue
        except TamperedError as error:
            raise _lost(reached.last, f"does not lead to the end: {error}") from error
    raise _lost(reached.last, "is followed by events where retention removed all")


@contextmanager
def _any_value(last: Checkpoint) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError, OverflowError) as error:
        raise _lost(last, f"is followed by a value that is none of its kind: {error}") from error


def _lost(last: Checkpoint, problem: str) -> LostCheckpointError:
    """The error that says what is wrong behind a checkpoint."""
    return LostCheckpointError(
        f"checkpoint {last.number} of {last.time}, the last that was seen, {problem}. See verify_trail --checkpoint "
        f"{_file()}. If a backup was put back on purpose, move that file away."
    )


def keep(statement: Checkpoint) -> None:
    """Keep what was signed, as `verify_trail --checkpoint` reads it; if that fails, the next is signed all the same."""
    try:
        write_whole(_file(), payload_of(statement), is_synced=True)
    except OSError as error:
        _unwritable.goes_on(f"The last checkpoint cannot be kept in {_file()}", error)
    else:
        _unwritable.is_over("The last checkpoint is kept again")


def _begin(head: TrailHead) -> None:
    for row in trail_rows.read("position = %s", [head.checkpoint_position]):
        statement = statement_of(row, str(head.trail_id))
        if statement and (statement.number, statement.position + 1) == (head.checkpoint_number, row.position):
            keep(statement)


def _start(kept: Checkpoint, head: TrailHead) -> Reached:
    if kept.trail_id != str(head.trail_id):
        raise _lost(kept, f"is of another trail, {kept.trail_id}: this one took its place")
    rows = trail_rows.read("position = %s", [kept.position + 1])
    if rows:
        if statement_of(rows[0], kept.trail_id) != kept:
            raise _lost(kept, "is not where it was: the trail was written anew")
        return Reached(kept.position, bytes.fromhex(kept.link), kept.number - 1, kept)
    # After the row: whoever removes one writes its note in the same transaction.
    note = removals.covering(kept.position + 1)
    if note is None:
        raise _lost(kept, "is not in the trail: its end was cut off")
    if not _vouches(note, head):
        raise _lost(kept, f"is not in the trail, and {removals.name_of(note)} is not what a known key signed")
    return Reached(note.last_position, bytes(note.link), note.checkpoint_number, kept)


def _walk(reached: Reached, head: TrailHead) -> Reached:
    position, before, number, last = reached
    trail_id = str(head.trail_id)
    for item, link in _links(reached, head):
        if isinstance(item, RemovedEvents):
            number = item.checkpoint_number
        elif (statement := statement_of(item, trail_id)) is not None:
            is_next = number is None or statement.number == number + 1
            if not is_next or (statement.position, statement.link) != (position, before.hex()):
                raise TamperedError(f"The checkpoint at position {item.position} does not belong there.")
            number, last = statement.number, statement
        position, before = end_of(item), link
    if (position, before) != (head.position, bytes(head.link)):
        raise TamperedError(f"The head of the trail, at position {head.position}, is not what the events come to.")
    if number not in {None, head.checkpoint_number}:
        raise TamperedError(f"The head of the trail counts {head.checkpoint_number} checkpoints.")
    return Reached(position, before, number, last)


def _links(reached: Reached, head: TrailHead) -> Iterator[tuple[trail_rows.TrailRow | RemovedEvents, bytes]]:
    """What stands behind a place, up to the head, each with the link that is computed there."""
    link = reached.link
    for item in items(reached.position + 1, head.position):
        if isinstance(item, RemovedEvents):
            if bytes(item.previous_link) != link or not _vouches(item, head):
                raise TamperedError(f"{removals.name_of(item)} is not what a known key signed.")
            link = bytes(item.link)
        else:
            link = chain.link_of(link, end_of(item), item.values)
            if item.link != link:
                raise TamperedError(f"The event at position {item.position} is not as it was sealed: {item.event_id}.")
        yield item, link


def _vouches(note: RemovedEvents, head: TrailHead) -> bool:
    """Whether a note may stand for events: where there is a key only if that, or one before it, signed it."""
    ring = keys.known_keys(keys.signing_key())
    verdict = ring.judge(removals.statement_of(head.trail_id, note))
    return verdict is Verdict.VALID if ring else verdict in {Verdict.UNSIGNED, Verdict.UNCHECKED}


def _read() -> Checkpoint | None:
    try:
        statement = statement_in(_file().read_text())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise LostCheckpointError(f"{_file()} cannot be read: {error}") from error
    if statement is None:
        raise LostCheckpointError(f"{_file()} holds no checkpoint. Move it away if you know why.")
    return statement


def _file() -> Path:
    folder: Path = settings.CAS_DATA_DIR
    return folder / "last-checkpoint.json"
