"""Reads the chain as it is stored: events, and the notes of those that retention removed, without a gap."""

from collections.abc import Callable, Iterator

from audit import chain, removals, trail_rows
from audit.models import RemovedEvents
from audit.trail_rows import TrailRow

PAGE = 500
_LAST = 2**63 - 1


class RefusedError(Exception):
    """Nothing can be removed from some position on; the text says why, and what to do."""


class TamperedError(RefusedError):
    """Something is not as it was sealed or signed."""


class MissingKeyError(RefusedError):
    """Something was signed with a key whose public half is not known here."""


class Moved(Exception):
    """The trail changed while it was read, or an event stands where all were removed."""


def link_before(position: int) -> bytes:
    """The link that leads to a position, as it is stored; raises TamperedError when there is none."""
    if position == 1:
        return chain.GENESIS
    rows = trail_rows.read("position = %s", [position - 1])
    if rows and rows[0].link is not None:
        return rows[0].link
    removed = removals.covering(position - 1)
    if removed is None:
        raise TamperedError(f"There is no event at position {position - 1}, and retention did not remove it.")
    return bytes(removed.link)


def items(first: int, end: int | None) -> Iterator[TrailRow | RemovedEvents]:
    """Events and notes of what was removed, in the order of the chain and without a gap; raises what else there is."""
    position, limit = first, _LAST if end is None else end
    while position <= limit:
        rows = trail_rows.read("position BETWEEN %s AND %s ORDER BY position LIMIT %s", [position, limit, PAGE])
        until = limit if len(rows) < PAGE else rows[-1].position or 0
        # After the rows: whoever removes one writes its note in the same transaction.
        notes = RemovedEvents.objects.filter(last_position__gte=position, first_position__lte=until)
        found: list[TrailRow | RemovedEvents] = [*rows, *notes]
        if not found:
            return
        for item in sorted(found, key=start_of):
            start = start_of(item)
            if start > position:
                raise TamperedError(f"There is no event at position {position}, and retention did not remove it.")
            if start < position:
                raise Moved
            yield item
            position = end_of(item) + 1


def linked(
    first: int, link: bytes, end: int | None, vouch: Callable[[RemovedEvents], None]
) -> Iterator[tuple[TrailRow | RemovedEvents, bytes]]:
    """The same, each with its link, which fits what is before it; `vouch` raises for a note that may stand for nothing.

    `link` is what leads to the first position.
    """
    for item in items(first, end):
        if isinstance(item, RemovedEvents):
            vouch(item)
            if bytes(item.previous_link) != link:
                raise TamperedError(f"What is at position {first} and after it does not lead to {item}.")
            link = bytes(item.link)
        else:
            link = chain.link_of(link, end_of(item), item.values)
            if item.link != link:
                raise TamperedError(f"The event at position {item.position} is not as it was sealed: {item.event_id}.")
        yield item, link


def start_of(item: TrailRow | RemovedEvents) -> int:
    """Its first position."""
    return item.first_position if isinstance(item, RemovedEvents) else item.position or 0


def end_of(item: TrailRow | RemovedEvents) -> int:
    """Its last position."""
    return item.last_position if isinstance(item, RemovedEvents) else item.position or 0
