"""What a transfer asks the database first."""

from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, transaction

_T = TypeVar("_T")


def first_query(query: Callable[[], _T]) -> _T:
    """The answer to a query that only reads: asked again, over a new connection, when its connection was lost.

    Instead of CONN_HEALTH_CHECKS, which sends a query before the query: as long a way as its own.
    Raises django.db.Error.
    """
    database = transaction.get_connection()  # once: django.db.connection looks for it each time
    if database.in_atomic_block:
        return query()
    database.health_check_done = True
    try:
        return query()
    except (OperationalError, InterfaceError):
        if database.is_usable():
            raise
        database.close()
        return query()
