"""What may be believed of the chain before something of it is removed: links that a signature vouches for.

Whoever writes to the database can compute all links anew. So the chain is computed from a known place before the events
in question up to the next signature behind them, a checkpoint's or that of a note of retention, and must come to the
link that was signed. The checkpoints on the way must all be there, by their numbers: one that is made to look like
another event is missed by the next.
"""

import time
from collections import deque
from datetime import datetime
from uuid import UUID

from audit import chain, trail_rows
from audit.chain_reading import Moved, TamperedError, link_before
from audit.chain_signatures import ChainSignatures
from audit.checkpoints import ACTION
from audit.models import AuditEvent, RemovedEvents, State
from audit.statements import KeyRing
from audit.trail_rows import TrailRow
from audit.vouched import Signature, Stretch, Vouched

STEP = 32  # events between two links that are remembered
_REMEMBERED = 8  # vouched parts of the chain: events that came late lie in others than their neighbours by age
_TRIES = 5
_LAST = 2**63 - 1


class Vouching:
    """Finds what is vouched for, and remembers it: the chain is read once, however many batches are removed.

    What the arguments mean is ChainSignatures' to say.
    """

    def __init__(self, ring: KeyRing, trail_id: UUID, *, accepts_unsigned: bool = False) -> None:
        self.seconds = 0.0  # spent on reading ahead to the next signature
        self._signatures = ChainSignatures(ring, trail_id, accepts_unsigned=accepts_unsigned)
        self._vouched: deque[Vouched] = deque(maxlen=_REMEMBERED)
        self._unvouched_from = _LAST

    def stretch(self, first: int, last: int) -> Stretch | None:
        """The events of these positions, or of as many of the first of them as are vouched for yet.

        None when none is, or somebody else removes them. Raises TamperedError and MissingKeyError.
        """
        try:
            vouched = self._vouched_for(first, last)
            return None if vouched is None else self._read_again(first, min(last, vouched.last), vouched)
        except Moved:
            return None

    def known_at(self, position: int) -> tuple[bytes, int | None]:
        """The link that leads to a position, and the last checkpoint's number there if that is known.

        Computed from the place before that `stretch` would begin at. Raises RefusedError.
        """
        start, link, number, is_signed = self._known_before(position)
        try:
            for item, after in self._signatures.links(start, link, position - 1) if start < position else ():
                if isinstance(item, TrailRow) and (statement := self._signatures.statement_of(item)) is not None:
                    is_vouching = self._signatures.judge(item, statement, link, number, is_signed=is_signed)
                    is_signed = is_signed or (is_vouching and self._signatures.has_keys)
                    number = statement.number
                link = after
        except Moved as error:
            raise TamperedError(f"Before position {position} events were removed meanwhile.") from error
        return link, number

    def first_signature(self, position: int, link: bytes) -> Signature | None:
        """The first signature of the chain from a position on, to which this link leads; raises RefusedError."""
        first_number = number = None
        try:
            for item, after in self._signatures.links(position, link, None):
                if isinstance(item, RemovedEvents):
                    return Signature(item.expired_before, first_number)
                if (statement := self._signatures.statement_of(item)) is not None:
                    is_vouching = self._signatures.judge(item, statement, link, number, is_signed=False)
                    number = statement.number
                    first_number = first_number or number
                    if is_vouching:
                        return Signature(datetime.fromisoformat(statement.time), first_number)
                link = after
        except Moved as error:
            raise TamperedError(f"Behind position {position} events were removed meanwhile.") from error
        return None

    def _read_again(self, first: int, last: int, vouched: Vouched) -> Stretch | None:
        """The events as they are now, which may not be as they were when it was read ahead."""
        end, link_wanted = vouched.known_from(last)
        previous = link_before(first)
        rows: list[TrailRow] = []
        for item, link in self._signatures.links(first, previous, end):
            if isinstance(item, RemovedEvents):
                break  # it is signed, and leads on from what was found
            if (item.position or 0) <= last:
                rows.append(item)
            if item.position == end and link != link_wanted:
                raise TamperedError(f"Events up to position {end} were changed while they were being removed.")
        is_complete = len(rows) == last - first + 1
        return Stretch(rows, last, previous, vouched.number_at(last)) if is_complete else None

    def _vouched_for(self, first: int, last: int) -> Vouched | None:
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

    def _read_on(self, first: int, last: int) -> Vouched | None:
        for _ in range(_TRIES):
            try:
                return self._read_once(first, last)
            except Moved:
                within = AuditEvent.objects.filter(position__gte=first, position__lte=last)
                if within.count() <= last - first:
                    raise
        raise TamperedError(f"From position {first} on there is an event where retention removed all.")

    def _read_once(self, first: int, last: int) -> Vouched | None:
        start, before, number, is_signed = self._known_before(first)
        vouched = Vouched(start, number)
        end: tuple[int, bytes] | None = None  # how far a signature vouches that is not behind all of them
        for step, (item, link) in enumerate(self._signatures.links(start, before, None), start=1):
            if isinstance(item, RemovedEvents):
                if item.first_position <= last:
                    raise Moved
                return vouched.ended(item.first_position - 1, before)
            if (statement := self._signatures.statement_of(item)) is not None:
                is_vouching = self._signatures.judge(item, statement, before, number, is_signed=is_signed)
                number = statement.number
                vouched.count(statement.position + 1, number)
                if is_vouching and statement.position >= last:
                    return vouched.ended(statement.position, before)
                if is_vouching and statement.position >= first:
                    end = (statement.position, before)
                is_signed = is_signed or (is_vouching and self._signatures.has_keys)
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
            statement = self._signatures.statement_of(rows[0])
            if statement is not None and self._signatures.is_vouching(
                statement, f"The checkpoint at position {position}"
            ):
                return position, link_before(position), statement.number - 1, self._signatures.has_keys
        if note is None:
            return 1, chain.GENESIS, 0, False
        if not self._signatures.vouches(note):
            return floor + 1, bytes(note.link), None, False
        return floor + 1, bytes(note.link), note.checkpoint_number, self._signatures.has_keys
