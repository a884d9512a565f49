"""Group commit: shared transactions, failures that stay where they belong, and a database that does not answer."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.contrib.auth.models import Group
from django.db import DataError, IntegrityError, OperationalError, transaction

from common import group_commit, refusals
from common.group_commit import CommitTimeout, GroupCommit, Ticket
from common.transactions import _turn
from people.roles import ROLES
from tests.servers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def insert(names: Sequence[str]) -> None:
    Group.objects.bulk_create([Group(name=name) for name in names])


def refuse(rows: Sequence[str]) -> None:
    raise OperationalError("no such table")


def names() -> set[str]:
    return set(Group.objects.exclude(name__in=ROLES).values_list("name", flat=True))


def test_row_is_committed_when_write_returns() -> None:
    group_commit.write(insert, "one")
    assert names() == {"one"}


def test_many_threads_share_few_transactions() -> None:
    calls: list[int] = []

    def count(rows: Sequence[str]) -> None:
        calls.append(len(rows))
        time.sleep(0.02)
        insert(rows)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: group_commit.write(count, f"row {number}"), range(64)))
    assert len(names()) == 64
    assert sum(calls) == 64
    assert len(calls) < 32


@pytest.mark.parametrize("error", [DataError, IntegrityError, OverflowError])
def test_row_that_no_database_would_take_fails_alone(error: type[Exception]) -> None:
    started = threading.Event()

    def insert_slowly(rows: Sequence[str]) -> None:
        started.set()
        time.sleep(0.1)
        if "bad" in rows:
            raise error("this one is bad")
        insert(rows)

    def write(name: str) -> str:
        try:
            group_commit.write(insert_slowly, name)
        except error:
            return "refused"
        return "taken"

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(write, "first")
        started.wait()
        outcomes = list(pool.map(write, ["a", "bad", "b"]))
    assert (first.result(), outcomes) == ("taken", ["taken", "refused", "taken"])
    assert names() == {"first", "a", "b"}


def test_error_is_raised_where_it_was_asked_for() -> None:
    group_commit.write(insert, "twice")
    with pytest.raises(IntegrityError):
        group_commit.write(insert, "twice")


def test_deferred_row_goes_along_with_the_next() -> None:
    ticket = group_commit.defer(insert, "deferred")
    assert names() == set()
    group_commit.write(insert, "written")
    ticket.wait()
    assert names() == {"deferred", "written"}


def test_deferred_row_that_nothing_takes_along_is_flushed() -> None:
    ticket = group_commit.defer(insert, "deferred")
    group_commit.flush()
    ticket.wait()
    assert names() == {"deferred"}


def test_database_that_does_not_answer_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "PATIENCE", 0.1)
    group = GroupCommit()
    is_hanging, is_back = threading.Event(), threading.Event()

    def hang(rows: Sequence[str]) -> None:
        is_hanging.set()
        is_back.wait(60)
        insert(rows)

    ticket = group.defer(hang, "kept for later")
    group.flush()
    assert is_hanging.wait(60)  # else what is given up below may be of its group
    with pytest.raises(CommitTimeout):
        ticket.wait()
    with pytest.raises(CommitTimeout):
        group.write(insert, "given up")  # who finds out that nothing is to be had
    label = group.defer(insert, "given up, too")
    with pytest.raises(CommitTimeout):
        group.write(insert, "given up")
    assert isinstance(label.error, CommitTimeout)  # told, rather than waited for until its time was over
    with pytest.raises(CommitTimeout):
        label.wait()
    is_back.set()
    monkeypatch.setattr(group_commit, "PATIENCE", 30.0)
    group.write(insert, "after")
    ticket.wait()
    group.stop()
    assert names() == {"kept for later", "after"}


def test_thread_that_was_stopped_is_started_again() -> None:
    group_commit.write(insert, "before")
    group_commit.stop()
    group_commit.write(insert, "after")
    assert names() == {"before", "after"}


@pytest.mark.parametrize("is_late", [False, True])
def test_thread_that_is_stopped_while_it_is_busy_finishes_what_waits(
    monkeypatch: pytest.MonkeyPatch, is_late: bool
) -> None:
    monkeypatch.setattr(group_commit, "PATIENCE", 60.0)
    is_back, is_hanging = threading.Event(), threading.Event()
    group = GroupCommit()

    def hang(rows: Sequence[str]) -> None:
        is_hanging.set()
        is_back.wait(60)

    def send(write: Callable[[Sequence[str]], None], name: str) -> Ticket:
        ticket = group.defer(write, name)
        group.flush()
        return ticket

    send(hang, "first")
    assert is_hanging.wait(60)
    stopping = threading.Thread(target=group.stop, daemon=True)
    if not is_late:
        ticket = send(insert, "waits")
    stopping.start()
    wait_until(lambda: group._queue.qsize() == (1 if is_late else 2))
    if is_late:
        ticket = send(insert, "waits")
    is_back.set()
    stopping.join(20)
    assert not stopping.is_alive()
    ticket.wait()
    assert names() == {"waits"}


def test_turn_that_cannot_be_had_is_an_error_of_the_database(tmp_path: Path) -> None:
    """Whoever has rows that the database does not take knows what to do with them."""
    with (
        pytest.raises(OperationalError, match="cannot be opened: No such file"),
        _turn(str(tmp_path / "none" / "turn")),
    ):
        pass


def test_row_that_no_thread_can_be_had_for_is_told_of_and_not_written_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    group = GroupCommit()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        deferred = group.defer(insert, "deferred")
        with pytest.raises(CommitTimeout):
            group.write(insert, "given up")
        assert isinstance(deferred.error, CommitTimeout)  # told, rather than waited for
    group.write(insert, "second")
    group.stop()
    assert names() == {"second"}


def test_what_one_table_does_not_take_is_not_tried_row_by_row_and_keeps_no_other_table_from_its_rows() -> None:
    calls: list[int] = []

    def refuse(rows: Sequence[str]) -> None:
        calls.append(len(rows))
        raise OperationalError("no such table")

    refused = [group_commit.defer(refuse, f"row {number}") for number in range(5)]
    taken = group_commit.defer(insert, "taken")
    group_commit.flush()
    taken.wait()
    for ticket in refused:
        with pytest.raises(OperationalError):
            ticket.wait()
    assert calls == [5, 5]
    assert names() == {"taken"}


def test_what_was_refused_a_moment_ago_is_tried_by_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(refusals, "time", SimpleNamespace(monotonic=lambda: now[0]))
    answers = [None, None, OperationalError("readonly"), OperationalError("attempt to write a readonly database")]
    tried: list[str] = []

    def refuse(rows: Sequence[str]) -> None:
        tried.extend(rows)
        if error := answers.pop():
            raise error

    def is_taken(name: str) -> bool:
        try:
            group_commit.write(refuse, name)
        except OperationalError:
            return False
        return True

    assert not is_taken("first")
    now[0] += refusals.PAUSE / 2
    label = group_commit.defer(insert, "of another table")
    assert not is_taken("too soon")
    group_commit.flush()
    label.wait()
    now[0] += refusals.PAUSE / 2
    assert not is_taken("second")
    assert not is_taken("too soon")
    now[0] += refusals.PAUSE
    assert is_taken("third")
    assert is_taken("fourth")
    assert tried == ["first", "second", "third", "fourth"]
    assert names() == {"of another table"}


def test_what_goes_along_is_not_written_without_the_row_that_took_it_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "time", SimpleNamespace(monotonic=lambda: 100.0))

    for name in ("refused", "refused a moment ago"):
        deferred = group_commit.defer(insert, f"deferred, {name}")
        with pytest.raises(OperationalError):
            group_commit.write(refuse, name)
        assert f"deferred, {name}" not in names()
        group_commit.flush()
        deferred.wait()
    assert names() == {"deferred, refused", "deferred, refused a moment ago"}


@pytest.mark.parametrize("is_flushed_inside", [True, False])
def test_what_goes_along_in_a_transaction_is_not_written_without_its_row_either(is_flushed_inside: bool) -> None:
    with transaction.atomic():
        deferred = group_commit.defer(insert, "deferred")
        with pytest.raises(OperationalError):
            group_commit.write(refuse, "refused")
        assert names() == set()
        if is_flushed_inside:
            group_commit.flush()
    group_commit.flush()
    deferred.wait()
    assert names() == {"deferred"}


def test_what_goes_along_when_the_database_is_locked_is_told_so() -> None:
    """And is not tried again: who has waited for a second does not wait for two."""
    calls: list[str] = []

    def refuse(rows: Sequence[str]) -> None:
        calls.extend(rows)
        raise OperationalError("database is locked")

    deferred = group_commit.defer(refuse, "deferred")
    with pytest.raises(OperationalError):
        group_commit.write(refuse, "leader")
    group_commit.flush()
    with pytest.raises(OperationalError):
        deferred.wait()
    assert calls == ["leader", "deferred"]


def test_what_has_not_been_tried_as_its_row_was_refused_is_tried_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its kind, once refused, would be so for as long as the row's is."""
    now = [100.0]
    monkeypatch.setattr(refusals, "time", SimpleNamespace(monotonic=lambda: now[0]))
    is_gone = threading.Event()

    def label(rows: Sequence[str]) -> None:
        if is_gone.is_set():
            raise OperationalError("no such table")
        insert(rows)

    def upload(name: str) -> Ticket:
        ticket = group_commit.defer(label, name)
        with pytest.raises(OperationalError):
            group_commit.write(refuse, name)
        group_commit.flush()
        return ticket

    is_gone.set()
    with pytest.raises(OperationalError):
        upload("gone").wait()
    is_gone.clear()
    now[0] += refusals.PAUSE
    upload("back").wait()
    assert names() == {"back"}


def test_thread_outlives_what_it_cannot_commit(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(group_commit, "PATIENCE", 0.1)

    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(group_commit, "_commit", fail)
        with pytest.raises(CommitTimeout):
            group_commit.write(insert, "lost")
        wait_until(lambda: "A group of rows could not be committed" in caplog.text)
    monkeypatch.setattr(group_commit, "PATIENCE", 60.0)
    group_commit.write(insert, "next")
    assert names() == {"next"}


def test_row_that_takes_others_along_goes_before_them() -> None:
    """Though others of their kind, which no row took along, are in the group before it."""
    written: list[str] = []

    def label(rows: Sequence[str]) -> None:
        written.extend(rows)
        if "free" in written and len(rows) > 1:
            raise OperationalError("no such table")

    def event(rows: Sequence[str]) -> None:
        written.extend(rows)

    leader, follower = Ticket(event, "leader"), Ticket(label, "follower")
    leader.followers = [follower]
    group_commit._commit([Ticket(label, "free"), leader], refusals.Refusals())
    assert written[-3:] == ["free", "leader", "follower"]


def test_while_one_tries_what_was_refused_others_do_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = refusals.Refusals()
    refused.begin(insert, "readonly")
    later = time.monotonic() + refusals.PAUSE
    monkeypatch.setattr(refusals, "time", SimpleNamespace(monotonic=lambda: later))
    assert refused.excuse(insert) is None
    assert refused.excuse(insert) is not None
    refused.end(insert)
    assert refused.excuse(insert) is None
    assert not refused


@pytest.mark.parametrize("error", [DataError("of a row"), IntegrityError("of a row"), OperationalError("is locked")])
def test_what_is_wrong_with_a_row_or_passes_keeps_no_other_from_being_tried(error: Exception) -> None:
    def refuse(rows: Sequence[str]) -> None:
        if rows == ["bad"]:
            raise error

    with pytest.raises(type(error)):
        group_commit.write(refuse, "bad")
    group_commit.write(refuse, "good")


def test_row_is_waited_for_from_when_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload waits for its event and then for its label: for both no longer than for one."""
    monkeypatch.setattr(group_commit, "PATIENCE", 0.1)
    is_back = threading.Event()
    group = GroupCommit()

    def hang(rows: Sequence[str]) -> None:
        is_back.wait(60)

    label = group.defer(hang, "label")
    with pytest.raises(CommitTimeout):
        group.write(hang, "event")
    monkeypatch.setattr(group_commit, "PATIENCE", 120.0)
    with pytest.raises(CommitTimeout):
        label.wait()
    is_back.set()
    group.stop()
