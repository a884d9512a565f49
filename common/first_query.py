"""What a transfer asks the database first."""

from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

_T = TypeVar("_T")


def first_query(query: Callable[[], _T]) -> _T:
    """The answer to a query that only reads: asked again, over a new connection, when its connection was lost.

    Instead of CONN_HEALTH_CHECKS, which sends a query before the query: as long a way as its own.
    Raises django.db.Error.
    """
    if connection.in_atomic_block:
        return query()
    connection.health_check_done = True  # type: ignore[attr-defined]
    try:
        return query()
    except (OperationalError, InterfaceError):
        if connection.is_usable():
            raise
        connection.close()
        return query()
