"""SQL that transfers wait for: prepared once by PostgreSQL, which plans it longer than it runs, and given to the
driver's own cursor, for Django's takes longer around it than SQLite in it.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache
from itertools import count
from typing import Any

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from common.transactions import write_transaction

Fetch = Callable[[Any], Any]
Rows = Sequence[Sequence[Any]]

_FEW = 32  # rows; of more, the number of statements to prepare would have no end


class Statement:
    """Written with `%s` for its parameters and without any other `%`.

    On PostgreSQL the server binds the parameters, where Django's cursors write them into the statement. Not for all
    of them: Django's `server_side_binding` breaks grouping by expressions with parameters, as its documentation says.
    """

    def __init__(self, sql: str) -> None:
        self.sql = sql
        head, *rest = sql.split("%s")
        self.of_driver = {
            "sqlite": "?".join([head, *rest]),
            # As the server has it: psycopg would look for its own marks each time where there are more than a few.
            "postgresql": head + "".join(f"${number}{text}" for number, text in zip(count(1), rest)),
        }

    def run(self, database: BaseDatabaseWrapper, parameters: Sequence[Any], fetch: Fetch = lambda _: None) -> Any:
        """Return what `fetch` makes of the cursor; raises django.db.Error."""
        if _is_watched(database):
            with database.cursor() as watched:
                watched.execute(self.sql, parameters)
                return fetch(watched)
        cursor = _driver_cursor(database)
        with database.wrap_database_errors:
            return fetch(cursor.execute(self.of_driver[database.vendor], parameters))


Part = tuple[Statement, Sequence[Any]]  # with its parameters


class Query:
    """A statement that asks."""

    def __init__(self, sql: str) -> None:
        self.statement = Statement(sql)

    def first(self, *parameters: Any) -> tuple[Any, ...] | None:
        """The first row of the answer; raises django.db.Error."""
        row: tuple[Any, ...] | None
        row = self.statement.run(transaction.get_connection(), parameters, lambda cursor: cursor.fetchone())
        return row


class Insert:
    """Inserts rows, several to a statement: the driver lets go of the interpreter with each, and others take it.

    `on_conflict` is what follows ON CONFLICT. Where that updates, the first `key` columns tell a row from others: one
    statement may not write a row twice, so of several the last is taken.
    """

    # Rows; each is a statement of its own to prepare. SQLite before 3.32 takes 999 parameters.
    _SIZES = 50, 16, 8, 4, 2, 1

    def __init__(self, table: str, columns: Sequence[str], on_conflict: str, key: int = 0) -> None:
        row = f"({', '.join(['%s'] * len(columns))})"
        self._key = key
        head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "  # noqa: S608  (names of models' own)
        self.by_size = {
            size: Statement(f"{head}{', '.join([row] * size)} ON CONFLICT {on_conflict}") for size in self._SIZES
        }

    def run(self, rows: Rows) -> None:
        """Insert the rows, each with a value for each column as the database wants it; raises django.db.Error."""
        insert_all({self: rows})

    def parts(self, rows: Rows) -> Iterator[Part]:
        """What inserts these rows."""
        if self._key and len(rows) > 1:
            rows = list({tuple(row[: self._key]): row for row in rows}.values())
        at = 0
        for size, statement in self.by_size.items():
            while len(rows) - at >= size:
                yield statement, [value for row in rows[at : at + size] for value in row]
                at += size


def insert_all(batches: Mapping[Insert, Rows]) -> None:
    """Insert the rows of each: all of them, or none. Raises django.db.Error.

    A few rows are one statement to PostgreSQL, and that, outside a transaction, a transaction of its own: one way there
    and back, where BEGIN, each statement and COMMIT would each be one.
    """
    database = transaction.get_connection()
    parts = [part for insert, rows in batches.items() for part in insert.parts(rows)]
    is_one = database.vendor == "postgresql" and sum(map(len, batches.values())) <= _FEW
    if is_one:
        parts = together(parts)
    with nullcontext() if is_one or database.in_atomic_block else write_transaction():
        for statement, parameters in parts:
            statement.run(database, parameters)


def together(parts: list[Part]) -> list[Part]:
    """What does the same in one statement, as PostgreSQL can: data-modifying statements in WITH."""
    if len(parts) < 2:  # noqa: PLR2004  (one is one)
        return parts
    statements, parameters = zip(*parts, strict=True)
    return [(_combined(*statements), [value for values in parameters for value in values])]


@lru_cache(maxsize=100)  # as many as psycopg keeps prepared
def _combined(*statements: Statement) -> Statement:
    *others, last = [statement.sql for statement in statements]
    return Statement(f"WITH {', '.join(f'part_{n} AS ({sql})' for n, sql in enumerate(others))} {last}")


class _Kept(threading.local):
    """A psycopg cursor of each thread: making one takes as long as a query."""

    cursor: Any = None


_kept = _Kept()


def _is_watched(database: BaseDatabaseWrapper) -> bool:
    """Whether Django's own cursor must be used, which tells its log, and its wrappers, what it is asked."""
    return bool(database.queries_logged or database.execute_wrappers)


def _driver_cursor(database: BaseDatabaseWrapper) -> Any:
    database.ensure_connection()
    database.validate_no_broken_transaction()
    raw: Any = database.connection
    if database.vendor != "postgresql":
        return raw
    if _kept.cursor is None or _kept.cursor.connection is not raw:
        import psycopg  # noqa: PLC0415  (nobody else needs libpq)

        _kept.cursor = psycopg.RawCursor(raw)
    return _kept.cursor
