"""What may be believed of the chain before something of it is removed: links that a signature vouches for.

Whoever writes to the database can compute all links anew. So the chain is computed from a known place before the events
in question up to the next signature behind them, a checkpoint's or that of a note of retention, and must come to the
link that was signed. The checkpoints on the way must all be there, by their numbers: one that is made to look like
another event is missed by the next.
"""

import time
from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from audit import chain, removals, trail_rows
from audit.chain_reading import MissingKeyError, Moved, TamperedError, items, link_before
from audit.checkpoints import ACTION, is_of_its_time, statement_in
from audit.models import AuditEvent, RemovedEvents, State
from audit.statements import Checkpoint, KeyRing, Removal, Verdict
from audit.trail_rows import TrailRow

STEP = 32  # events between two links that are remembered
_REMEMBERED = 8  # vouched parts of the chain: events that came late lie in others than their neighbours by age
_TRIES = 5
_LAST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Stretch:
    """Events in their order up to `last`, the link before the first, the number of the last checkpoint up to there."""

    rows: list[TrailRow]
    last: int
    previous_link: bytes
    checkpoint_number: int | None


class _Vouched:
    """A part of the chain up to `last`, whose link was signed; of the links before it every so many are known."""

    def __init__(self, first: int, number: int | None) -> None:
        self.first = first
        self.last = 0
        self._number = number  # of the last checkpoint before it
        self._positions = array("q")
        self._links: list[bytes] = []
        self._checkpoints = array("q")
        self._numbers = array("q")

    def know(self, position: int, link: bytes) -> None:
        self._positions.append(position)
        self._links.append(link)

    def count(self, position: int, number: int) -> None:
        self._checkpoints.append(position)
        self._numbers.append(number)

    def known_from(self, position: int) -> tuple[int, bytes]:
        """The first position, from this on, whose link is known, and the link."""
        place = bisect_left(self._positions, position)
        return self._positions[place], self._links[place]

    def number_at(self, position: int) -> int | None:
        place = bisect_right(self._checkpoints, position)
        if place:
            return self._numbers[place - 1]
        return self._numbers[0] - 1 if self._numbers else self._number

    def ended(self, last: int, link: bytes) -> Self:
        while self._positions and self._positions[-1] >= last:
            self._positions.pop()
            self._links.pop()
        self.last = last
        self.know(last, link)
        return self


class Vouching:
    """Finds what is vouched for, and remembers it: the chain is read once, however many batches are removed.

    With no key nothing is signed, and what is not signed is taken for what it says.
    """

    def __init__(self, ring: KeyRing, trail_id: UUID) -> None:
        self.seconds = 0.0  # spent on reading ahead to the next signature
        self._ring = ring
        self._trail_id = trail_id
        self._vouched: deque[_Vouched] = deque(maxlen=_REMEMBERED)
        self._unvouched_from = _LAST

    def stretch(self, first: int, last: int) -> Stretch | None:
        """The events of these positions, or of as many of the first of them as are vouched for yet.

        None when none is, or somebody else removes them.

        Raises TamperedError and MissingKeyError.
        """
        try:
            vouched = self._vouched_for(first, last)
            return None if vouched is None else self._read_again(first, min(last, vouched.last), vouched)
        except Moved:
            return None

    def _read_again(self, first: int, last: int, vouched: _Vouched) -> Stretch | None:
        """The events as they are now, which may not be as they were when it was read ahead."""
        end, link_wanted = vouched.known_from(last)
        previous = link_before(first)
        rows: list[TrailRow] = []
        for item, link in self._links(first, previous, end):
            if isinstance(item, RemovedEvents):
                break  # it is signed, and leads on from what was found
            if (item.position or 0) <= last:
                rows.append(item)
            if item.position == end and link != link_wanted:
                raise TamperedError(f"Events up to position {end} were changed while they were being removed.")
        is_complete = len(rows) == last - first + 1
        return Stretch(rows, last, previous, vouched.number_at(last)) if is_complete else None

    def _vouched_for(self, first: int, last: int) -> _Vouched | None:
        if first >= self._unvouched_from:
            return None
        last = min(last, self._unvouched_from - 1)
        for known in self._vouched:
            if known.first <= first and last <= known.last:
                return known
        began = time.monotonic()
        try:
            found = self._read_on(first, last)
        finally:
            self.seconds += time.monotonic() - began
        if found is None or found.last < last:
            self._unvouched_from = first if found is None else found.last + 1
        if found is not None:
            self._vouched.append(found)
        return found

    def _read_on(self, first: int, last: int) -> _Vouched | None:
        for _ in range(_TRIES):
            try:
                return self._read_once(first, last)
            except Moved:
                within = AuditEvent.objects.filter(position__gte=first, position__lte=last)
                if within.count() <= last - first:
                    raise
        raise TamperedError(f"From position {first} on there is an event where retention removed all.")

    def _read_once(self, first: int, last: int) -> _Vouched | None:
        start, before, number, is_signed = self._known_before(first)
        vouched = _Vouched(start, number)
        end: tuple[int, bytes] | None = None  # how far a signature vouches that is not behind all of them
        for step, (item, link) in enumerate(self._links(start, before, None), start=1):
            if isinstance(item, RemovedEvents):
                if item.first_position <= last:
                    raise Moved
                return vouched.ended(item.first_position - 1, before)
            if (statement := self._statement_of(item)) is not None:
                is_vouching = self._judge(item, statement, before, number, is_signed=is_signed)
                number = statement.number
                vouched.count(statement.position + 1, number)
                if is_vouching and statement.position >= last:
                    return vouched.ended(statement.position, before)
                if is_vouching and statement.position >= first:
                    end = (statement.position, before)
                is_signed = is_signed or (is_vouching and bool(self._ring))
            if step % STEP == 0:
                vouched.know(item.position or 0, link)
            before = link
        return vouched.ended(*end) if end else None

    def _known_before(self, first: int) -> tuple[int, bytes, int | None, bool]:
        """A place at or before a position to compute the chain from.

        As position, the link that leads to it, the number of the last checkpoint before it, and whether a signature
        has been seen there. The link need not be proven: only the true one comes to the link that was signed.
        """
        note = RemovedEvents.objects.filter(last_position__lt=first).order_by("-last_position").first()
        floor = note.last_position if note else 0
        position = first
        while rows := trail_rows.read(
            "position > %s AND position < %s AND action = %s AND state <> %s ORDER BY position DESC LIMIT 1",
            [floor, position, ACTION, State.MIRRORED],
        ):
            position = rows[0].position or 0
            statement = self._statement_of(rows[0])
            if statement is not None and self._is_vouching(statement, f"The checkpoint at position {position}"):
                return position, link_before(position), statement.number - 1, bool(self._ring)
        if note is None:
            return 1, chain.GENESIS, 0, False
        if not self._is_vouching(removals.statement_of(self._trail_id, note), _name_of(note)):
            return floor + 1, bytes(note.link), None, False
        return floor + 1, bytes(note.link), note.checkpoint_number, bool(self._ring)

    def _links(self, first: int, link: bytes, end: int | None) -> Iterator[tuple[TrailRow | RemovedEvents, bytes]]:
        """What stands in the chain from a position on, each with its link, which fits what is before it."""
        for item in items(first, end):
            if isinstance(item, RemovedEvents):
                if not self._is_vouching(removals.statement_of(self._trail_id, item), _name_of(item)):
                    raise TamperedError(f"{_name_of(item)} is not signed: nothing before it can be proven.")
                if bytes(item.previous_link) != link:
                    raise TamperedError(f"What is at position {first} and after it does not lead to {item}.")
                link = bytes(item.link)
            else:
                link = chain.link_of(link, item.position or 0, item.values)
                if item.link != link:
                    raise TamperedError(
                        f"The event at position {item.position} is not as it was sealed: {item.event_id}."
                    )
            yield item, link

    def _statement_of(self, row: TrailRow) -> Checkpoint | None:
        """The checkpoint in a row, unless it is another trail's, or the stream brought it."""
        if row["action"] != ACTION or row.state == State.MIRRORED:
            return None
        statement = statement_in(row["payload"])
        return statement if statement is not None and statement.trail_id == str(self._trail_id) else None

    def _judge(self, row: TrailRow, statement: Checkpoint, link: bytes, number: int | None, *, is_signed: bool) -> bool:
        """Whether a checkpoint vouches for what is before it; raises what is wrong with it."""
        name = f"The checkpoint at position {row.position}"
        is_vouching = self._is_vouching(statement, name)
        if statement.position + 1 != row.position or statement.link != link.hex():
            raise TamperedError(f"{name} was signed over other events than stand before it.")
        if not is_of_its_time(statement, row["occurred_at"]):
            raise TamperedError(f"{name} is of {statement.time}, and its row has another time.")
        if number is not None and statement.number != number + 1:
            raise TamperedError(f"{name} is number {statement.number}, and {number + 1} should be next.")
        if not is_vouching and is_signed:
            raise TamperedError(f"{name} is not signed, and earlier ones are.")
        return is_vouching

    def _is_vouching(self, statement: Checkpoint | Removal, name: str) -> bool:
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


def _name_of(note: RemovedEvents) -> str:
    return f"The note that retention removed {note}"
