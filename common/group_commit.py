"""Group commit: rows that many threads want written at once share one transaction, and its one fsync.

One thread a process writes, so that requests neither fight for SQLite's write lock nor each pay for a commit:
whoever comes while a group is being committed is in the next (DeWitt et al., "Implementation Techniques for
Main Memory Database Systems", 1984).
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from queue import Empty, SimpleQueue
from typing import Any

from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, OperationalError, connection

from common.first_query import outage
from common.prepared import Insert, insert_all
from common.refusals import Refusals
from common.transactions import write_transaction

logger = logging.getLogger(__name__)

PATIENCE = 1.0  # seconds a ticket is waited for, and a group may take before others no longer wait for theirs
LONGEST_GROUP = 500  # rows, and what goes along with them

Write = Insert | Callable[[Sequence[Any]], object]


class CommitTimeout(Exception):
    """The database has not taken what it was given in time; it may still do so."""


class Ticket:
    """One row on its way into the database."""

    def __init__(self, write: Write, row: Any) -> None:
        self.write = write
        self.row = row
        self.is_abandoned = False
        self.followers: list[Ticket] = []  # what goes along with it, and is not written without it
        self._deadline = time.monotonic() + PATIENCE
        self.error: BaseException | None = None
        self._pending = threading.Lock()
        self._pending.acquire()

    def settle(self, error: BaseException | None = None) -> None:
        """Tell who waits that the row is committed, or why not."""
        self.error = error
        self._pending.release()

    def wait(self) -> None:
        """Return once the row is committed; raise what the database raised, or CommitTimeout if not in time."""
        if not self._pending.acquire(timeout=max(self._deadline - time.monotonic(), 0)):
            raise CommitTimeout
        self._pending.release()
        if self.error is not None:
            raise self.error


class GroupCommit:
    """A queue of rows and the daemon thread that writes them; started by the first row, and again after a fork."""

    def __init__(self) -> None:
        self._reset()
        # A lock that some thread held at the fork would stay locked in the child for ever.
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._queue: SimpleQueue[list[Ticket]] = SimpleQueue()
        self._deferred = threading.local()
        self._lock = threading.Lock()
        self._pid: int | None = None
        self._thread: threading.Thread | None = None
        self._busy_since: float | None = None
        self._is_ending = False
        self._refusals = Refusals()

    def write(self, write: Write, row: Any) -> None:
        """Have the row written, by an Insert or by a function of a list of rows, and return when it is committed.

        What the thread has deferred goes along; when this row is refused, that stays deferred. Inside a transaction of
        the caller the row becomes part of that. `write` must bear being called again with the same rows: a commit that
        broke off may have happened. Raises django.db.Error, also for what was refused a moment ago and is not tried, or
        CommitTimeout: then the row and what goes along will not be written, unless they were being written.
        """
        if excuse := self._excuse(write):
            raise excuse
        ticket = Ticket(write, row)
        ticket.followers = self._take_deferred()
        try:
            self._send([ticket])
            ticket.wait()
        except CommitTimeout:
            ticket.is_abandoned = True
            raise
        except Exception:
            self._deferred.tickets = [follower for follower in ticket.followers if not follower.error]
            raise

    def defer(self, write: Write, row: Any) -> Ticket:
        """The same for a row that may wait for the thread's next `write`; `flush` is to be called after that."""
        ticket = Ticket(write, row)
        if excuse := self._excuse(write):
            ticket.settle(excuse)
        else:
            self._deferred.__dict__.setdefault("tickets", []).append(ticket)
        return ticket

    def flush(self) -> None:
        """Send what the thread has deferred and no `write` has taken along."""
        self._send(self._take_deferred())

    def _take_deferred(self) -> list[Ticket]:
        tickets: list[Ticket] = self._deferred.__dict__.pop("tickets", [])
        return tickets

    def _excuse(self, write: Write) -> OperationalError | None:
        return self._refusals.excuse(write) if self._refusals and not connection.in_atomic_block else None

    def _send(self, tickets: list[Ticket]) -> None:
        if connection.in_atomic_block:
            _join_transaction(tickets)
        elif tickets and not self._is_stuck() and self._has_thread():
            self._queue.put(tickets)
        else:  # nobody waits for what others have waited for in vain
            _settle_all(_with_followers(tickets), CommitTimeout())

    def _has_thread(self) -> bool:
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
                    try:
                        thread.start()
                    except RuntimeError:  # the system gives no more
                        return False
                    self._thread, self._pid = thread, os.getpid()
        return True

    def _is_stuck(self) -> bool:
        since = self._busy_since
        return since is not None and time.monotonic() - since > PATIENCE

    def stop(self) -> None:
        """Let the thread finish what it was given, close its connection and end; the next row starts another."""
        if self._pid == os.getpid() and self._thread is not None:
            self._is_ending = True
            self._queue.put([])  # wakes it
            self._thread.join()
            self._pid, self._is_ending = None, False

    def _run(self) -> None:
        while not (self._is_ending and self._queue.empty()):
            if tickets := self._next_group():
                self._busy_since = time.monotonic()
                try:
                    _commit(tickets, self._refusals)
                except Exception:  # those of its rows wait no longer than PATIENCE; others come after them
                    logger.exception("A group of rows could not be committed")
                finally:
                    self._busy_since = None
        connection.close()

    def _next_group(self) -> list[Ticket]:
        tickets = self._queue.get()
        while len(tickets) < LONGEST_GROUP:
            try:
                tickets += self._queue.get_nowait()
            except Empty:
                break
        return tickets


def _with_followers(tickets: list[Ticket]) -> list[Ticket]:
    return [*tickets, *(follower for ticket in tickets for follower in ticket.followers)]


def _commit(tickets: list[Ticket], refusals: Refusals) -> None:
    if not (tickets := [ticket for ticket in tickets if not ticket.is_abandoned]):
        return
    everything = _with_followers(tickets)
    error = _try_to_commit(everything)
    if error is not None and not connection.is_usable():
        connection.close()  # lost since the last group, perhaps long ago
        error = _try_to_commit(everything)
    if error is None or _is_locked(error) or not connection.is_usable():
        _settle(everything, error, refusals)
        return
    _commit_parts(tickets, error if everything == tickets else _try_to_commit(tickets), refusals)
    if followers := [follower for ticket in tickets if not ticket.error for follower in ticket.followers]:
        _commit_parts(followers, _try_to_commit(followers), refusals)


def _commit_parts(tickets: list[Ticket], error: Exception | None, refusals: Refusals) -> None:
    """What is refused must not take others with it."""
    if len(parts := _parts(tickets, error)) > 1:
        for part in parts:
            _commit_parts(part, _try_to_commit(part), refusals)
    else:
        _settle(tickets, error, refusals)


def _settle(tickets: list[Ticket], error: Exception | None, refusals: Refusals) -> None:
    for ticket in tickets:
        if error is None:
            refusals.end(ticket.write)
        elif _is_of_all_rows(error):
            refusals.begin(ticket.write, str(error))
    _settle_all(tickets, error)


def _settle_all(tickets: list[Ticket], error: Exception | None) -> None:
    for ticket in reversed(tickets):  # followers first: `write` defers again those without an error
        ticket.settle(error)


def _parts(tickets: list[Ticket], error: Exception | None) -> list[list[Ticket]]:
    """What is to be tried on its own: each row, or, where it is no row that is refused, what goes into one table."""
    if error is None or _is_locked(error):
        return [tickets]
    if not _is_of_all_rows(error):
        return [[ticket] for ticket in tickets]
    parts: dict[Write, list[Ticket]] = {}
    for ticket in tickets:
        parts.setdefault(ticket.write, []).append(ticket)
    return list(parts.values())


def _is_of_all_rows(error: Exception) -> bool:
    """Whether the database may refuse other rows as well; SQLite that is busy does not, and is waited for."""
    is_of_database = isinstance(error, DatabaseError | InterfaceError)
    return is_of_database and not isinstance(error, DataError | IntegrityError) and not _is_locked(error)


def _is_locked(error: Exception) -> bool:
    return "is locked" in str(error)


def _try_to_commit(tickets: list[Ticket]) -> Exception | None:
    inserts: dict[Insert, list[Any]] = {}
    others: dict[Callable[[Sequence[Any]], object], list[Any]] = {}
    for ticket in tickets:
        if isinstance(ticket.write, Insert):
            inserts.setdefault(ticket.write, []).append(ticket.row)
        else:
            others.setdefault(ticket.write, []).append(ticket.row)
    try:
        if connection.connection is None:
            outage.refuse()
        # Inserts alone need none, but for the savepoint in a caller's.
        is_needed = others or connection.in_atomic_block
        with write_transaction() if is_needed else nullcontext():
            insert_all(inserts)
            for write, rows in others.items():
                write(rows)
    except Exception as error:  # noqa: BLE001  (whatever it is, it is for those who wait; the thread must live)
        return error
    return None


def _join_transaction(tickets: list[Ticket]) -> None:
    for ticket in tickets:
        ticket.settle(_try_to_commit([ticket]))
        if not ticket.error:
            _join_transaction(ticket.followers)


_group_commit = GroupCommit()
write = _group_commit.write
defer = _group_commit.defer
flush = _group_commit.flush
stop = _group_commit.stop
