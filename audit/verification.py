"""Verifies the trail: one scan in the order of the chain, in constant memory, that only reads.

Each link is computed from the values and from the link that is stored before it, so that a row that was altered is
named, and those behind it are not. Who computed all later links anew meets the next checkpoint.
"""

from collections.abc import Callable, Iterator
from typing import cast
from uuid import UUID

from django.db.models import Exists, OuterRef

from audit import chain, removals, trail_rows
from audit.checkpoints import is_of_its_time, statement_of
from audit.findings import KEPT, Finding, Report
from audit.models import AuditEvent, RemovedEvents, TrailHead
from audit.statements import Checkpoint, KeyRing, Verdict
from audit.trail_rows import TrailRow

PAGE = 2000
_TRIES = 10  # to reach the end of a trail that grows meanwhile


def verify(keys: KeyRing, from_position: int = 1, tell: Callable[[int], None] = lambda _: None) -> Report:
    """Scan from a position to the end; `tell` gets each position that was reached. Raises django.db.Error.

    The last checkpoint is scanned with it, and what stands between the two, unless the trail ends before the position.
    """
    head = _head()
    # Not of a trail that ends before what was scanned already: its end was cut off.
    if 0 < head.checkpoint_position < from_position <= head.position + 1:
        from_position = head.checkpoint_position
    scan = Scan(keys, head, from_position)
    for _ in range(_TRIES):
        while rows := scan.next_page():
            for row in rows:
                scan.take(row)
            tell(scan.position)
        scan.expect(head)
        head = _head()
        if head.position <= scan.position:
            break
    scan.end(head)
    return scan.report


def _head() -> TrailHead:
    return TrailHead.objects.filter(pk=1).first() or TrailHead(trail_id=UUID(int=0))


class Scan:
    """Where a scan is: at a position, whose link is known, unless what stood there is gone."""

    def __init__(self, keys: KeyRing, head: TrailHead, from_position: int) -> None:
        self.report = Report(str(head.trail_id), from_position, signatures_checked=bool(keys))
        self.position = from_position - 1
        self._trail_id = head.trail_id
        self._keys = keys
        self._link: bytes | None = None
        self._cursor: tuple[int, int] = (from_position, -1)
        # Whether nothing was found since the last checkpoint, nor removed without its number; that number, if known.
        self._is_whole = from_position == 1
        self._number: int | None = 0 if self._is_whole else None
        self._learn_link(head.position)

    def _learn_link(self, end: int) -> None:
        """Know the link before the first position, as it is stored; without it the first event proves nothing."""
        if self.position == 0:
            self._link = chain.GENESIS
        elif rows := trail_rows.read("position = %s ORDER BY id LIMIT 1", [self.position]):
            self._link = rows[0].link
            if self._link is None:
                self._find(rows[0], "its link is gone")
        # After the rows: whoever removes one writes its note in the same transaction.
        elif (removed := removals.covering(self.position)) is None:
            if self.position <= end:
                self._add(Finding(_gone(self.position, self.position), self.position))
        elif removed.last_position == self.position:  # else it is crossed
            self._judge_removed(removed, removed.first_position)
            self._link = bytes(removed.link)

    def next_page(self) -> list[TrailRow]:
        """More rows, in the order of the chain; several that claim one position, in the order of their ids."""
        position, pk = self._cursor
        condition = "position >= %s AND (position > %s OR id > %s) ORDER BY position, id LIMIT %s"
        rows = trail_rows.read(condition, [position, position, pk, PAGE])
        if rows:
            # The database's own notion of what it has: SQLite may hold a position that is no number.
            self._cursor = (cast("int", rows[-1].position), rows[-1].pk)
        return rows

    def take(self, row: TrailRow) -> None:
        """Judge the next row."""
        self.report.events += 1
        if not isinstance(row.position, int):
            self._find(row, "its position is no number")
            return
        if row.position > self.position + 1:
            self._cross(self.position + 1, row.position - 1)
        if row.position <= self.position:
            if _is_gone(row):
                self.report.events -= 1  # retention removed it since it was read, and counts it
                return
            self._find(row, "was inserted: what belongs at this position is there, or was removed by retention")
            return
        if row.link is None:
            self._find(row, "its link is gone")
        elif self._link is not None and row.link != chain.link_of(self._link, row.position, row.values):
            self._find(row, "is not what was sealed here: it was altered, or the one before it together with its link")
        elif (statement := statement_of(row, self.report.trail_id)) is not None:
            self._compare(row, statement)
        self.position, self._link = row.position, row.link

    def _find(self, row: TrailRow, problem: str) -> None:
        self._add(Finding(problem, row.position, row.pk, row.event_id))

    def _add(self, finding: Finding) -> None:
        self._is_whole = False
        self.report.add(finding)

    def _cross(self, first: int, last: int) -> None:
        """Go over positions that no row has: removed by retention, or by somebody else."""
        while self.position < last:
            removed = removals.covering(self.position + 1)
            if removed is None:
                following = RemovedEvents.objects.filter(first_position__gt=self.position, first_position__lte=last)
                next_removed = following.order_by("first_position").first()
                end = next_removed.first_position - 1 if next_removed else last
                self._add(Finding(_gone(self.position + 1, end), self.position + 1))
                self.position, self._link = end, None
            else:
                self._cross_removed(removed)

    def _cross_removed(self, removed: RemovedEvents) -> None:
        first = self.position + 1
        self._judge_removed(removed, first)
        self.report.removed += removed.last_position - first + 1
        self.position, self._link = removed.last_position, bytes(removed.link)

    def _judge_removed(self, removed: RemovedEvents, first: int) -> None:
        statement = removals.statement_of(self._trail_id, removed)
        verdict = self._keys.judge(statement)
        if verdict in {Verdict.FORGED, Verdict.UNKNOWN_KEY} or (verdict is Verdict.UNSIGNED and self._keys):
            problem = f"the note that retention removed {removed} is {verdict.value}"
            self._add(Finding(problem, first))
        elif removed.first_position == first and self._link not in {None, bytes(removed.previous_link)}:
            problem = f"does not lead to {removed}, which retention removed: it was altered together with its link"
            self._add(Finding(problem, self.position))
        elif removed.checkpoint_number is None:
            self._is_whole = False
        elif removed.checkpoint_number < (self._number or 0):
            problem = f"the note that retention removed {removed} counts {removed.checkpoint_number} checkpoints"
            self._add(Finding(f"{problem}, and number {self._number} stands before it", first))
        else:
            self._number, self._is_whole = removed.checkpoint_number, True

    def _compare(self, row: TrailRow, statement: Checkpoint) -> None:
        """Judge a checkpoint of the trail's own. One that its row disguises is passed over, and missed by the next."""
        self.report.checkpoints += 1
        verdict = self._keys.judge(statement)
        if problem := self._problem_of(row, statement, verdict):
            self._find(row, problem)
            return
        self.report.last_checkpoint = statement
        if verdict is Verdict.VALID:
            self.report.signed_checkpoints += 1
            self.report.last_signed = statement
        self._number, self._is_whole = statement.number, True

    def _problem_of(self, row: TrailRow, statement: Checkpoint, verdict: Verdict) -> str:
        last = self.report.last_checkpoint
        if verdict in {Verdict.FORGED, Verdict.UNKNOWN_KEY}:
            return f"the checkpoint is {verdict.value}"
        if verdict is Verdict.UNSIGNED and self.report.last_signed is not None:
            return "the checkpoint is not signed, and earlier ones are"
        if statement.position != self.position:
            return f"the checkpoint was moved or replayed: it belongs behind position {statement.position}"
        if self._link is not None and statement.link != self._link.hex():
            since = last.position + 1 if last else self.report.first_position
            return f"the checkpoint was signed over other events: positions {since} to {self.position} were rewritten"
        if not is_of_its_time(statement, row["occurred_at"]):
            return f"the checkpoint is of {statement.time}, and its row has another time"
        return self._gap_in_numbers(statement.number)

    def _gap_in_numbers(self, number: int) -> str:
        if self._number is None or number == self._number + 1 or (number > self._number and not self._is_whole):
            return ""
        expected = self._number + 1
        return f"this is checkpoint {number}, and {expected} should be next: others were removed, or it was replayed"

    def expect(self, head: TrailHead) -> None:
        """Go over what is missing up to a head that was read before the last page."""
        if self.position < head.position:
            self._cross(self.position + 1, head.position)

    def end(self, head: TrailHead) -> None:
        """Compare where the scan ended with a head that was read after it."""
        self.report.last_position = self.position
        if head.position < self.position:
            self._add(Finding(f"the head of the trail was set back to position {head.position}", self.position))
        elif head.position > self.position:
            return  # it grows faster than it can be read
        elif self._link is not None and bytes(head.link) != self._link:
            self._add(Finding("the head of the trail has another link: it or this event was changed", self.position))
        elif (self._is_whole or not self.report.checkpoints) and head.checkpoint_number != (self._number or 0):
            number = head.checkpoint_number
            self._add(Finding(f"checkpoint {number} should be the last in the trail, and is not", self.position))
        for finding in _out_of_place(head.position):
            if finding.row_id is None or finding.row_id not in {found.row_id for found in self.report.findings}:
                self.report.add(finding)


def _out_of_place(end: int) -> Iterator[Finding]:
    """Events before the chain or within what was removed, and removals beyond the chain."""
    for early in AuditEvent.objects.filter(position__lt=1).only("id", "position", "event_id")[:KEPT]:
        yield Finding("its position is none", early.position, early.pk, str(early.event_id))
    within = AuditEvent.objects.filter(
        position__gte=OuterRef("first_position"), position__lte=OuterRef("last_position")
    )
    for removed in RemovedEvents.objects.filter(Exists(within))[:KEPT]:
        if event := removals.first_event_within(removed):
            problem = f"was inserted: retention removed {removed}, or so it says there"
            yield Finding(problem, event.position, event.pk, str(event.event_id))
    for removed in RemovedEvents.objects.filter(last_position__gt=end)[:KEPT]:
        yield Finding(f"retention is said to have removed {removed}, and the trail ends at {end}", end)


def _is_gone(row: TrailRow) -> bool:
    return not AuditEvent.objects.filter(pk=row.pk, position=row.position).exists()


def _gone(first: int, last: int) -> str:
    return "was removed" if first == last else f"was removed, and so were all up to position {last}"
