"""Rows of the trail as they are hashed: read without the ORM, so that what is no proper value can be read as well."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connection

from audit import chain
from audit.models import AuditEvent

_TIME = chain.FIELDS.index("occurred_at")
TABLE = AuditEvent._meta.db_table


@dataclass(frozen=True, slots=True)
class TrailRow:
    """`values` are those of chain.FIELDS in their order; `position` and `link` are None until it is sealed.

    `state` is not sealed.
    """

    pk: int
    position: int | None
    link: bytes | None
    state: str
    values: Sequence[object]

    @property
    def event_id(self) -> str:
        """Its event id, as it is written everywhere."""
        try:
            return str(UUID(str(self["event_id"])))
        except ValueError:
            return str(self["event_id"])

    def __getitem__(self, name: str) -> Any:
        """A value by the name of its field."""
        return self.values[chain.FIELDS.index(name)]


def read(condition: str, parameters: Sequence[int | str]) -> list[TrailRow]:
    """The rows of an SQL condition, which may have an order and a limit."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id, position, link, state, {_columns()} FROM {TABLE} WHERE {condition}", parameters)  # noqa: S608  (names of our own)
        return [_row_of(*found) for found in cursor]


def _columns() -> str:
    names = list(chain.FIELDS)
    if connection.vendor == "sqlite":
        # As text, or Django's converter would raise at what is no time.
        names[_TIME] = "CAST(occurred_at AS TEXT)"
    return ", ".join(names)


def _row_of(pk: int, position: int | None, link: object, state: str, *values: object) -> TrailRow:
    found = list(values)
    found[_TIME] = _time_of(found[_TIME])
    return TrailRow(pk, position, bytes(link) if isinstance(link, bytes | memoryview) else None, state, found)


def _time_of(value: object) -> object:
    """What SQLite keeps of a time, as that time; what is none stays what it is."""
    if not isinstance(value, str):
        return value
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return value
    return time.replace(tzinfo=UTC) if str(time) == value and time.tzinfo is None else value
