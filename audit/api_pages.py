"""A page of the trail, in order of time, at a cost that does not grow with the trail.

Pages go on from a place in an index (occurred_at, id), never by counting rows from the start. Where no index knows
whether an event is asked for, a page looks at so many events and no more, and may hold few or none of them; the page
after goes on from there, as with CloudTrail's LookupEvents.
"""

import time
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import BooleanField, DateTimeField, F, Func, Q, QuerySet, Value

from audit.event_filters import EventFilter
from audit.models import AuditEvent

LOOKED_AT = 20_000  # events of a page that are read to see whether they are asked for
FEW = 5_000  # as many events of a digest are put in order by us
MERGED = 16  # organizations whose pages are read one by one and merged


class Position(NamedTuple):
    """Where a page ends."""

    occurred_at: datetime
    id: int


class Page(NamedTuple):
    rows: list[dict[str, Any]]
    end: Position | None  # None: nothing comes after


class Effort(NamedTuple):
    """How much a page may look at where no index knows: so many events, in steps, until the time is over."""

    events: int
    step: int
    seconds: float = float("inf")


class _Row(Func):
    function = ""  # SQL's row values, which use all of an index; SQLite and PostgreSQL compare them as tuples


def compare(columns: list[str], sign: str, values: list[Value]) -> Func:
    """A condition that compares columns with values as tuples are compared."""
    return Func(
        _Row(*(F(column) for column in columns)),
        _Row(*values),
        template="%(expressions)s",
        arg_joiner=f" {sign} ",
        output_field=BooleanField(),
    )


def read_page(
    asked: EventFilter,
    fields: tuple[str, ...],
    size: int,
    after: Position | None,
    *,
    newest_first: bool = True,
    effort: Effort | None = None,
) -> Page:
    """Up to `size` rows with these fields (`id` and `occurred_at` among them), from behind `after` on."""
    return _Reader(fields, size, newest_first, effort or Effort(LOOKED_AT, LOOKED_AT)).read(asked, after)


class _Reader(NamedTuple):
    fields: tuple[str, ...]
    size: int
    newest_first: bool
    effort: Effort

    def read(self, asked: EventFilter, after: Position | None) -> Page:
        seen = asked.organizations
        if seen is None:
            return self._read(asked, after)
        if asked.organization is not None:
            return self._read(asked, after) if asked.organization in seen else Page([], None)
        if asked.indexed or asked.unordered or len(seen) > MERGED:
            return self._read(replace(asked, rest=asked.rest & Q(org_id__in=seen)), after)
        return self._merge([self._read(replace(asked, organization=each), after) for each in sorted(seen)])

    def _merge(self, pages: list[Page]) -> Page:
        """One page of several, which reaches as far as all of them do."""
        rows = sorted((row for page in pages for row in page.rows), key=_place, reverse=self.newest_first)
        ends = [page.end for page in pages if page.end is not None]
        if not ends:
            return self._cut(rows, None)
        edge = max(ends) if self.newest_first else min(ends)
        return self._cut([row for row in rows if _place(row) == edge or self._is_before(_place(row), edge)], edge)

    def _is_before(self, place: Position, edge: Position) -> bool:
        return place > edge if self.newest_first else place < edge

    def _read(self, asked: EventFilter, after: Position | None) -> Page:
        whole = Q() if asked.organization is None else Q(org_id=asked.organization)
        events = AuditEvent.objects.filter(asked.times).order_by(*self._order())
        if asked.unordered and _are_few(asked.unordered):
            found = self._behind(events.filter(whole, asked.unordered, asked.indexed, asked.rest), after)
            return self._cut(list(self._in_order(found).values(*self.fields)), None)
        # One index at a time: the one that leaves the fewest.
        rest = asked.rest & asked.unordered
        if asked.indexed:
            events, rest = events.filter(asked.indexed), rest & whole
        else:
            events = events.filter(whole)
        if not rest:
            return self._cut(list(self._behind(events, after).values(*self.fields)[: self.size + 1]), None)
        return self._scan(events, rest, after)

    def _scan(self, events: "QuerySet[AuditEvent]", wanted: Q, after: Position | None) -> Page:
        """Look at events one step after the other, until the page is full or the effort is spent."""
        rows: list[dict[str, Any]] = []
        deadline = time.monotonic() + self.effort.seconds
        for looked_at in range(0, self.effort.events, self.effort.step):
            behind = self._behind(events, after)
            count = min(self.effort.step, self.effort.events - looked_at)
            last = behind.values_list("occurred_at", "id")[count - 1 : count].first()
            edge = Position(*last) if last else None
            if edge is not None:
                behind = behind.filter(_compare(">=" if self.newest_first else "<=", edge))
            rows += behind.filter(wanted).values(*self.fields)[: self.size + 1 - len(rows)]
            after = edge
            if len(rows) > self.size or edge is None or time.monotonic() > deadline:
                break
        return self._cut(rows, after)

    def _cut(self, rows: list[dict[str, Any]], end: Position | None) -> Page:
        return Page(rows[: self.size], _place(rows[self.size - 1])) if len(rows) > self.size else Page(rows, end)

    def _behind(self, events: "QuerySet[AuditEvent]", after: Position | None) -> "QuerySet[AuditEvent]":
        return events if after is None else events.filter(_compare("<" if self.newest_first else ">", after))

    def _order(self) -> list[str]:
        return ["-occurred_at", "-id"] if self.newest_first else ["occurred_at", "id"]

    def _in_order(self, events: "QuerySet[AuditEvent]") -> "QuerySet[AuditEvent]":
        """The first of them by time. Asked to sort, a database would rather search the index of all times."""
        keys = sorted(events.order_by().values_list("occurred_at", "id"), reverse=self.newest_first)[: self.size + 1]
        return AuditEvent.objects.filter(pk__in=[number for _, number in keys]).order_by(*self._order())


def _place(row: dict[str, Any]) -> Position:
    return Position(row["occurred_at"], row["id"])


def _compare(sign: str, position: Position) -> Func:
    moment, number = position
    return compare(["occurred_at", "id"], sign, [Value(moment, DateTimeField()), Value(number)])


def _are_few(condition: Q) -> bool:
    return AuditEvent.objects.filter(condition)[: FEW + 1].count() <= FEW
