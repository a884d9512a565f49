"""What sealed events add to the usage totals. Added in the transaction that seals them, hence exactly once."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from audit.chain import FIELDS
from audit.events import Kind, kind_of
from audit.models import Granularity, Organization, UsageSum, UsageTotal
from audit.trail_rows import TrailRow
from common.storable_text import storable

# A sum stays there rather than ends sealing, whatever sizes other publishers claim; two of them fit a BIGINT.
LIMIT = 2**62 - 1

_KEY = ("granularity", "start", "org_id", "backend", "location", "kind")
_KEY_OF_ALL = ("granularity", "start", "kind")


def _adding(table: str, key: tuple[str, ...]) -> str:
    """An upsert that adds transfers and bytes to the row of a key."""
    total = f"{table}.bytes + excluded.bytes"
    return f"""
        INSERT INTO {table} ({", ".join(key)}, transfers, bytes) VALUES ({"%s, " * len(key)}%s, %s)
        ON CONFLICT ({", ".join(key)}) DO UPDATE SET
            transfers = {table}.transfers + excluded.transfers,
            bytes = CASE WHEN {total} > {LIMIT} THEN {LIMIT} WHEN {total} < -{LIMIT} THEN -{LIMIT} ELSE {total} END
    """  # noqa: S608  (only names and numbers of our own)


_ADD = _adding(UsageTotal._meta.db_table, _KEY)
_ADD_TO_ALL = _adding(UsageSum._meta.db_table, _KEY_OF_ALL)
_KNOW = f"""
    INSERT INTO {Organization._meta.db_table} (org_id, display_name) VALUES (%s, '') ON CONFLICT (org_id) DO NOTHING
"""  # noqa: S608

_VALUES = itemgetter(
    *map(FIELDS.index, ("occurred_at", "action", "org_id", "size_bytes", "backend", "location", "skipped"))
)


class Key(NamedTuple):
    granularity: Granularity
    start: datetime
    org_id: UUID
    backend: str
    location: str
    kind: Kind


class Added(NamedTuple):
    transfers: int = 0
    bytes: int = 0


def add(sums: Mapping[Key, Added]) -> None:
    """Add these sums, and rows of organizations that are new; called in the transaction that positions the events."""
    organizations = sorted({key.org_id for key in sums})
    identifier = Organization._meta.get_field("org_id")
    of_all: dict[tuple[Any, ...], Added] = defaultdict(Added)
    for key, added in sums.items():
        transfers, count = of_all[key.granularity, key.start, key.kind]
        of_all[key.granularity, key.start, key.kind] = Added(transfers + added.transfers, count + added.bytes)
    with connection.cursor() as cursor:
        cursor.executemany(_KNOW, [(identifier.get_db_prep_save(each, connection),) for each in organizations])
        cursor.executemany(_ADD, _parameters(_KEY, sums))
        cursor.executemany(_ADD_TO_ALL, _parameters(_KEY_OF_ALL, of_all))


def within_limit(count: int) -> int:
    """The number, or the limit that it is beyond."""
    return max(-LIMIT, min(count, LIMIT))


def _parameters(names: tuple[str, ...], sums: Mapping[Any, Added]) -> list[tuple[Any, ...]]:
    by_name = {field.name: field for field in UsageTotal._meta.local_concrete_fields}
    fields = [by_name[name] for name in names]
    return [
        (
            *(field.get_db_prep_save(value, connection) for field, value in zip(fields, key, strict=True)),
            added.transfers,
            within_limit(added.bytes),
        )
        for key, added in sums.items()
    ]


def sums_of(rows: Iterable[TrailRow]) -> dict[Key, Added]:
    """The totals of these events alone."""
    sums: dict[Key, Added] = defaultdict(Added)
    for (hour, organization, *place, kind), sizes in _by_hour(rows).items():
        rest = (UUID(str(organization)), storable(str(place[0])), storable(str(place[1])), kind)
        for key in (Key(Granularity.HOUR, hour, *rest), Key(Granularity.DAY, hour.replace(hour=0), *rest)):
            transfers, count = sums[key]
            sums[key] = Added(transfers + len(sizes), count + sum(sizes))
    return sums


def _by_hour(rows: Iterable[TrailRow]) -> dict[tuple[Any, ...], list[int]]:
    """The sizes of the events that count, by what they are summed by."""
    sizes: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for row in rows:
        time, action, organization, size, backend, location, skipped = _VALUES(row.values)
        kind = kind_of(action, is_skipped=skipped)
        if not kind or organization is None or not isinstance(time, datetime) or not isinstance(size, int):
            continue  # another kind of event, or one that holds what no event of ours does
        hour = time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        sizes[hour, organization, backend, location, kind].append(size)
    return sizes
