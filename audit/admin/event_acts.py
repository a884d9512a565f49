"""What can be done with all events that the list's filters ask for: export them, send them again."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from django.db.models import Q

from audit import api_pages
from audit.api_pages import Effort, Position
from audit.event_filters import EventFilter
from audit.models import REPLAYABLE, AuditEvent

COUNTING = 1.0  # seconds that counting may take
SENDING = 10.0  # seconds that one request may send events again
_BATCH = 5_000
_KEYS = ("id", "occurred_at")


class Count(NamedTuple):
    """How many events there are; unless it is exact, at least so many."""

    events: int
    is_exact: bool


def until(asked: EventFilter, end: datetime) -> EventFilter:
    """What is asked for, of events up to this time alone: what comes meanwhile does not count."""
    return replace(asked, times=asked.times & Q(occurred_at__lt=end))


def count(asked: EventFilter, seconds: float = COUNTING) -> Count:
    """As many as can be counted in this time."""
    total, deadline = 0, time.monotonic() + seconds
    for rows in _batches(asked):
        total += len(rows)
        if time.monotonic() > deadline:
            return Count(total, is_exact=False)
    return Count(total, is_exact=True)


def replayable(asked: EventFilter) -> EventFilter:
    """Those of them that replay would send."""
    return replace(asked, rest=asked.rest & Q(state__in=REPLAYABLE))


class Sent(NamedTuple):
    """How many events are pending again, and whether all that were asked for have been looked at."""

    events: int
    is_all: bool


def retry(asked: EventFilter, seconds: float = SENDING) -> Sent:
    """Make failed events pending, oldest first, for at most so long."""
    failed = EventFilter.of({"state": "failed"})
    narrowed = replace(asked, indexed=failed.indexed, rest=asked.rest & asked.indexed)
    return _send(narrowed, seconds, again=False)


def replay(asked: EventFilter, seconds: float = SENDING) -> Sent:
    """Make events pending that were published or kept here, oldest first, for at most so long."""
    return _send(asked, seconds, again=True)


def _send(asked: EventFilter, seconds: float, *, again: bool) -> Sent:
    total, deadline = 0, time.monotonic() + seconds
    for rows in _batches(asked):
        events = AuditEvent.objects.filter(pk__in=rows)
        total += events.replay() if again else events.retry_failed()
        if time.monotonic() > deadline:
            return Sent(total, is_all=False)
    return Sent(total, is_all=True)


def _batches(asked: EventFilter) -> Iterator[list[int]]:
    after: Position | None = None
    effort = Effort(20_000, 20_000)
    while True:
        page = api_pages.read_page(asked, _KEYS, _BATCH, after, newest_first=False, effort=effort)
        yield [row["id"] for row in page.rows]
        after = page.end
        if after is None:
            return
