"""Transactions that write."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import OperationalError, connection, transaction


@contextmanager
def write_transaction() -> Iterator[None]:
    """`transaction.atomic()`, except that on SQLite writers take turns.

    SQLite polls for its write lock and sleeps up to 0.1 s in between, so that under load one process can starve
    another; flock hands the turn on at once. What does not come this way merely polls as before.
    """
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        with transaction.atomic():
            yield
        return
    with _turn(f"{connection.settings_dict['NAME']}-turn"), transaction.atomic():
        yield


def after_commit(work: Callable[[], None]) -> None:
    """Do it once the transaction is committed, for what is rolled back never happened; outside a transaction, now.

    `transaction.on_commit` alone will not do: outside a transaction it wants a database that answers, and of one
    that is already lost Django ends the block without an error and without its hooks, so the request succeeds.
    """
    database = transaction.get_connection()
    if database.in_atomic_block and not database.needs_rollback:
        transaction.on_commit(work, robust=True)
    else:
        work()


@contextmanager
def _turn(path: str) -> Iterator[None]:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:  # for whoever knows what to do when the database does not take something
        raise OperationalError(f"{path} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
