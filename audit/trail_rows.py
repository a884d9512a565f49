"""Rows of the trail as they are hashed: read without the ORM, so that what is no proper value can be read as well."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import OperationalError, connection

from audit import chain
from audit.models import AuditEvent
from common.storable_text import storable

_TIME = chain.FIELDS.index("occurred_at")
_SKIPPED = chain.FIELDS.index("skipped")
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
            return storable(str(self["event_id"]))

    def __getitem__(self, name: str) -> Any:
        """A value by the name of its field."""
        return self.values[chain.FIELDS.index(name)]


def read(condition: str, parameters: Sequence[int | str]) -> list[TrailRow]:
    """The rows of an SQL condition, which may have an order and a limit."""
    statement = f"SELECT id, position, link, state, {_columns()} FROM {TABLE} WHERE {condition}"  # noqa: S608  (names of our own)
    try:
        return _fetch(statement, parameters)
    except OperationalError:
        if connection.vendor != "sqlite":
            raise
        with _any_bytes_as_text():
            return _fetch(statement, parameters)


def _fetch(statement: str, parameters: Sequence[int | str]) -> list[TrailRow]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return [_row_of(*found) for found in cursor]


def _columns() -> str:
    names = list(chain.FIELDS)
    if connection.vendor == "sqlite":
        # Not as Django converts them: it raises at what is no time, and takes any number but 1 for false.
        names[_TIME] = "CAST(occurred_at AS TEXT)"
        names[_SKIPPED] = "+skipped"
    else:
        # psycopg raises at times that Python does not have.
        names[_TIME] = (
            "CASE WHEN occurred_at >= '0001-01-01 00:00Z' AND occurred_at < '10000-01-01 00:00Z' THEN occurred_at END"
        )
    return ", ".join(names)


@contextmanager
def _any_bytes_as_text() -> Iterator[None]:
    """SQLite's driver raises at text that is no UTF-8."""
    connection.ensure_connection()
    factory = connection.connection.text_factory
    connection.connection.text_factory = lambda text: text.decode(errors="surrogateescape")
    try:
        yield
    finally:
        connection.connection.text_factory = factory


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
