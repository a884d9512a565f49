"""Judges the chain as it is read for removing something of it: whether links fit, and what is signed on the way."""

from collections.abc import Iterator
from uuid import UUID

from audit import checkpoints, removals
from audit.chain_reading import MissingKeyError, TamperedError, linked
from audit.models import RemovedEvents
from audit.removals import name_of
from audit.statements import Checkpoint, KeyRing, Removal, Verdict
from audit.trail_rows import TrailRow

_REMEDY = "If there was no key for a while: remove_expired_events --accept-unsigned."


class ChainSignatures:
    """The signatures of one trail. With no key nothing is signed, and what is not signed is taken for what it says.

    With `accepts_unsigned` checkpoints between signed ones need not be signed themselves.
    """

    def __init__(self, ring: KeyRing, trail_id: UUID, *, accepts_unsigned: bool = False) -> None:
        self.has_keys = bool(ring)
        self._ring = ring
        self._trail_id = trail_id
        self._accepts_unsigned = accepts_unsigned

    def links(self, first: int, link: bytes, end: int | None) -> Iterator[tuple[TrailRow | RemovedEvents, bytes]]:
        """What stands in the chain from a position on, each with its link, which fits what is before it."""
        return linked(first, link, end, self._require)

    def _require(self, note: RemovedEvents) -> None:
        if not self.vouches(note):
            raise TamperedError(f"{name_of(note)} is not signed: nothing before it can be proven. {_REMEDY}")

    def statement_of(self, row: TrailRow) -> Checkpoint | None:
        """The trail's checkpoint in a row, if it is one."""
        return checkpoints.statement_of(row, str(self._trail_id))

    def judge(self, row: TrailRow, statement: Checkpoint, link: bytes, number: int | None, *, is_signed: bool) -> bool:
        """Whether a checkpoint vouches for what is before it; raises what is wrong with it."""
        name = _checkpoint_at(row)
        is_vouching = self.is_vouching(statement, name)
        ensure_place(row, statement, link, number)
        if not is_vouching and is_signed and not self._accepts_unsigned:
            raise TamperedError(f"{name} is not signed, and earlier ones are. {_REMEDY}")
        return is_vouching

    def is_vouching(self, statement: Checkpoint | Removal, name: str) -> bool:
        """Whether it is signed, or nothing is; raises for what was signed otherwise, or elsewhere."""
        match self._ring.judge(statement):
            case Verdict.VALID:
                return True
            case Verdict.UNSIGNED:
                return not self._ring
            case Verdict.UNCHECKED:
                raise MissingKeyError(f"{name} is signed: set CAS_CHECKPOINT_KEY for whoever removes events, too.")
            case Verdict.UNKNOWN_KEY:
                raise MissingKeyError(
                    f"{name} is signed with a key that is not known here: add its public key to "
                    "CAS_CHECKPOINT_PUBLIC_KEYS."
                )
            case Verdict.FORGED:
                raise TamperedError(f"{name} is not what was signed.")

    def vouches(self, note: RemovedEvents) -> bool:
        """Whether a note is signed, or nothing is; raises as `is_vouching` does."""
        return self.is_vouching(removals.statement_of(self._trail_id, note), name_of(note))


def ensure_place(row: TrailRow, statement: Checkpoint, link: bytes, number: int | None) -> None:
    """Raise TamperedError unless a checkpoint stands where it was written.

    Right behind the event that has this link, in a row of its time, and next to the checkpoint of this number, if that
    is known.
    """
    name = _checkpoint_at(row)
    if statement.position + 1 != row.position or statement.link != link.hex():
        raise TamperedError(f"{name} was signed over other events than stand before it.")
    if not checkpoints.is_of_its_time(statement, row["occurred_at"]):
        raise TamperedError(f"{name} is of {statement.time}, and its row has another time.")
    if number is not None and statement.number != number + 1:
        raise TamperedError(f"{name} is number {statement.number}, and {number + 1} should be next.")


def _checkpoint_at(row: TrailRow) -> str:
    return f"The checkpoint at position {row.position}"
