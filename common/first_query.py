"""What a transfer asks the database first."""

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

LEAST, MOST = 1.0, 5.0  # seconds for which a database that cannot be connected to is left alone

SILENT = 4.0  # seconds after which no answer is that of a machine that is gone; `connect_timeout` is 5

_T = TypeVar("_T")


class _Outage:
    """While the database cannot be connected to, one request at a time tries that, and others need not wait for it.

    Each would take a connection attempt for every query, which of a machine that does not even refuse takes seconds.
    Such a machine does not answer over connections that there are either; one that refuses may only have too many.
    """

    def __init__(self) -> None:
        self._until = 0.0  # of time.monotonic; 0 while the database answers, as far as is known
        self._pause = LEAST

    def is_on(self) -> bool:
        return time.monotonic() < self._until

    def refuse(self) -> None:
        """Raise OperationalError while it is on."""
        if self.is_on():
            raise OperationalError("The database could not be reached a moment ago.")

    def spare(self, *, is_connected: bool) -> None:
        """The same, but let one try when that time is over, and all who are connected where others were refused."""
        if is_connected and self._pause < SILENT:
            return
        self.refuse()
        if self._until:
            self._until = time.monotonic() + self._pause

    def begin(self, taken: float) -> None:
        """A connection could not be made, or was lost, and that took so many seconds."""
        self._pause = min(max(taken, LEAST), MOST)
        self._until = time.monotonic() + self._pause

    def end(self) -> None:
        self._until = 0.0


outage = _Outage()


def first_query(query: Callable[[], _T]) -> _T:
    """The answer to a query that only reads: asked again, over a new connection, when its connection was lost.

    Instead of CONN_HEALTH_CHECKS, which sends a query before the query: as long a way as its own.
    Raises django.db.Error.
    """
    database = transaction.get_connection()  # once: django.db.connection looks for it each time
    if database.in_atomic_block:
        return query()
    outage.spare(is_connected=database.connection is not None)
    database.health_check_done = True
    started = time.monotonic()
    try:
        answer = _ask(database, query, started)
    except (OperationalError, InterfaceError):
        if database.connection is None:
            outage.begin(time.monotonic() - started)
        raise
    outage.end()
    return answer


def _ask(database: BaseDatabaseWrapper, query: Callable[[], _T], started: float) -> _T:
    was_connected = database.connection is not None
    try:
        return query()
    except (OperationalError, InterfaceError):
        if not was_connected or database.is_usable():
            raise
        database.close()
        if time.monotonic() - started > LEAST:
            raise  # who has waited for an answer in vain does not wait for a connection as well
        outage.refuse()
        return query()
