"""The rows of the trail, read beside the project: from SQLite's file or from PostgreSQL."""

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

TABLE = "audit_auditevent"


class Row(NamedTuple):
    event_id: str
    file_name: str
    state: str


class Database:
    """Where the trail is. Give the SQLite file, or PostgreSQL's URL."""

    def __init__(self, where: Path | str) -> None:
        self._where = where
        self.is_postgresql = isinstance(where, str)

    @contextmanager
    def connect(self) -> Iterator[Any]:
        """A connection that commits each statement by itself."""
        if isinstance(self._where, str):
            with psycopg.connect(self._where, autocommit=True, connect_timeout=5) as connection:
                yield connection
        else:
            with closing(sqlite3.connect(self._where, timeout=30, isolation_level=None)) as lite:
                yield lite

    def run(self, *statements: str) -> list[Any]:
        """Run them, and return the rows of the last."""
        with self.connect() as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def rows(self) -> list[Row]:
        """All of them, oldest first."""
        found = self.run(f"SELECT event_id, file_name, state FROM {TABLE} ORDER BY id")
        return [Row(str(uuid.UUID(str(event_id))), *rest) for event_id, *rest in found]

    def pending(self, after: int, until: int | None = None) -> int:
        """How many rows wait, of those with keys in this range."""
        bound = "" if until is None else f"AND id <= {until}"
        query = f"SELECT count(*) FROM {TABLE} WHERE state = 'pending' AND id > {after} {bound}"
        return int(self.run(query)[0][0])

    def last(self) -> int:
        """The largest key."""
        return int(self.run(f"SELECT coalesce(max(id), 0) FROM {TABLE}")[0][0])
