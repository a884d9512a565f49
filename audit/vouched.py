"""What was found to be vouched for: a part of the chain, a stretch of events in it, a signature. No database."""

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from audit.trail_rows import TrailRow


@dataclass(frozen=True, slots=True)
class Stretch:
    """Events in their order up to `last`, the link before the first, the number of the last checkpoint up to there."""

    rows: list[TrailRow]
    last: int
    previous_link: bytes
    checkpoint_number: int | None


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature in the chain: of a checkpoint of this time, or of a note of what had expired before it.

    `first_number` is that of the first checkpoint on the way to it, signed or not; None when there is none.
    """

    time: datetime | None
    first_number: int | None

    def is_before(self, time: datetime) -> bool:
        return self.time is not None and self.time <= time


class Vouched:
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
