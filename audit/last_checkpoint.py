"""The checkpoint that this machine saw last, in a file: no chain that has lost it is signed.

Who can write to the database alone can cut off the end of the trail, and set back all there that tells of it. The file
is out of reach, so the server does not put its name to what is left, and the age of its last checkpoint tells whoever
verifies. The reference for the idea: clients of transparency logs, which accept no tree that does not contain the last.
"""

import json
import logging
from pathlib import Path

from django.conf import settings

from audit import keys, trail_rows, witnesses
from audit.checkpoints import statement_of
from audit.models import TrailHead
from audit.statements import Checkpoint, KeyRing, Verdict
from common.folders import write_whole

logger = logging.getLogger(__name__)


class LostCheckpointError(Exception):
    """The trail lacks the checkpoint that was seen last; the text says which, and what to do."""


def follow(head: TrailHead) -> None:
    """Keep the last checkpoint of the trail, which another machine may have written.

    Raises LostCheckpointError, and keys.KeyFileError.
    """
    kept = _read()
    if kept is not None and (problem := _problem(kept, head)):
        raise _lost(f"Checkpoint {kept.number} of {kept.time}, which was in the trail, {problem}.")
    if head.checkpoint_number > (kept.number if kept else 0):
        _adopt(head)


def keep(statement: Checkpoint) -> None:
    """Keep what was signed; if that fails, the next is signed all the same."""
    try:
        write_whole(_file(), json.dumps(statement.info()), is_synced=True)
    except OSError as error:
        logger.error("Which checkpoint was the last cannot be kept in %s: %s", _file(), error.strerror)


def _adopt(head: TrailHead) -> None:
    ring = keys.known_keys(keys.signing_key())
    for row in trail_rows.read("position = %s", [head.checkpoint_position]):
        statement = statement_of(row, str(head.trail_id))
        # Whoever could have a forged one kept could cut off what is behind it.
        if statement is not None and ring.judge(statement) is (Verdict.VALID if ring else Verdict.UNSIGNED):
            keep(statement)


def _problem(kept: Checkpoint, head: TrailHead) -> str:
    if kept.trail_id != str(head.trail_id):
        return f"is of another trail, {kept.trail_id}: this one took its place"
    place = witnesses.place_of(kept, KeyRing(), head.trail_id)
    return place if isinstance(place, str) else ""


def _read() -> Checkpoint | None:
    try:
        info = json.loads(_file().read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _lost(f"What was the last cannot be read: {error}.") from error
    statement = Checkpoint.of_info(info) if isinstance(info, dict) else None
    if statement is None:
        raise _lost("What was the last is no checkpoint.")
    return statement


def _lost(problem: str) -> LostCheckpointError:
    return LostCheckpointError(f"{problem} Run verify_trail. After putting back a backup on purpose remove {_file()}.")


def _file() -> Path:
    folder: Path = settings.CAS_DATA_DIR
    return folder / "last-checkpoint.json"
