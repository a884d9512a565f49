"""The broker of one machine: its messages appear whole or not at all."""

import errno
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue
from kombu.exceptions import ChannelError
from kombu.simple import SimpleQueue

import casproject.embedded_broker  # registers embedded://


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "broker"


@pytest.fixture
def connection(folder: Path) -> Iterator[Connection]:
    with open_connection(folder) as connection:
        yield connection


def name_in(folder: Path) -> str:
    """A queue name of the test's own: Kombu remembers bindings for the whole process."""
    return folder.parent.name


def open_connection(folder: Path) -> Connection:
    options = {
        "data_folder_in": str(folder),
        "data_folder_out": str(folder),
        "control_folder": str(folder.with_name("control")),
        "polling_interval": 0.01,
    }
    return Connection("embedded://", transport_options=options)


@pytest.fixture
def queue(connection: Connection, folder: Path) -> Iterator[SimpleQueue]:
    with connection.SimpleQueue(name_in(folder)) as queue:
        yield queue


def test_message_comes_out_as_it_went_in(queue: SimpleQueue, folder: Path) -> None:
    queue.put({"number": 1, "text": "ünï"})
    message = queue.get(timeout=5)
    assert message.payload == {"number": 1, "text": "ünï"}
    message.ack()
    assert list(folder.iterdir()) == []


def test_nothing_is_said_of_the_host_name_that_it_has_not(
    connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    connection.clone().connect()
    assert caplog.records == []


def test_folder_that_cannot_be_read_holds_nothing_until_it_can(queue: SimpleQueue, folder: Path) -> None:
    queue.put("kept")
    elsewhere = folder.rename(folder.with_name("elsewhere"))
    folder.touch()
    with pytest.raises(Empty):
        queue.get(timeout=0.1)
    folder.unlink()
    elsewhere.rename(folder)
    assert queue.get(timeout=5).payload == "kept"


def test_message_that_is_being_written_cannot_be_seen(
    queue: SimpleQueue, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_written, may_go_on = threading.Event(), threading.Event()
    replace = Path.replace

    def wait(path: Path, target: Path) -> Path:
        is_written.set()
        assert may_go_on.wait(10)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", wait)
    writer = threading.Thread(target=put_from_elsewhere, args=(folder, 1))
    writer.start()
    assert is_written.wait(10)
    assert len(list(folder.iterdir())) == 1
    with pytest.raises(Empty):
        queue.get(timeout=0.1)
    may_go_on.set()
    writer.join()
    assert queue.get(timeout=5).payload == 0


def put_from_elsewhere(folder: Path, count: int) -> None:
    with open_connection(folder) as connection, connection.SimpleQueue(name_in(folder)) as queue:
        for number in range(count):
            queue.put(number)


def test_full_disk_is_an_error_of_the_sender_alone(
    queue: SimpleQueue, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(Path, "write_text", full)
        with pytest.raises(ChannelError):
            queue.put(1)
    assert list(folder.iterdir()) == []
    queue.put(2)
    assert queue.get(timeout=5).payload == 2


def test_many_senders_lose_and_tear_nothing(queue: SimpleQueue, folder: Path) -> None:
    senders = [threading.Thread(target=put_from_elsewhere, args=(folder, 100)) for _ in range(4)]
    for sender in senders:
        sender.start()
    received = []
    for _ in range(400):
        message = queue.get(timeout=20)
        message.ack()
        received.append(message.payload)
    for sender in senders:
        sender.join()
    assert sorted(received) == sorted(list(range(100)) * 4)


def test_message_that_cannot_be_renamed_leaves_nothing_behind(
    queue: SimpleQueue, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, target: Path) -> Path:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(ChannelError):
        queue.put(1)
    assert list(folder.iterdir()) == []


def test_half_written_message_of_a_crash_is_never_read(queue: SimpleQueue, folder: Path) -> None:
    queue.put(1)
    (message,) = folder.iterdir()
    message.with_name(f"0_crash.{message.name.split('.', 1)[1]}").with_suffix(".partial").write_text('{"body":')
    assert queue.get(timeout=5).payload == 1
    with pytest.raises(Empty):
        queue.get(timeout=0.1)


def test_messages_come_in_the_order_they_were_put(queue: SimpleQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1_000_000_000, 2_000_000_000, 1_000_000))
    monkeypatch.setattr(casproject.embedded_broker, "monotonic_ns", lambda: next(clock))
    for number in range(20):
        queue.put(number)
    assert [queue.get(timeout=5).payload for _ in range(20)] == list(range(20))


def test_message_goes_to_its_own_queue_alone(connection: Connection, queue: SimpleQueue, folder: Path) -> None:
    with connection.SimpleQueue(f"{name_in(folder)}-other") as other:
        other.put("for the other")
        queue.put("for this one")
        assert queue.get(timeout=5).payload == "for this one"
        with pytest.raises(Empty):
            queue.get(timeout=0.1)
        assert other.get(timeout=5).payload == "for the other"


def test_messages_that_no_worker_takes_are_refused_before_they_pile_up(
    queue: SimpleQueue, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(casproject.embedded_broker, "MAX_WAITING", 3)
    for number in range(3):
        queue.put(number)
    with pytest.raises(ChannelError, match="No worker takes the messages"):
        queue.put(3)
    assert len(list(folder.glob("*.msg"))) == 3
    queue.get(timeout=5).ack()
    queue.put(3)


def test_file_of_an_exchange_that_was_never_written_ends_nobody(connection: Connection, folder: Path) -> None:
    """Kombu's own keeps one for each exchange; a kill leaves it empty, and whoever reads it ends."""
    control = folder.with_name("control")
    control.mkdir()
    exchange = Exchange("tasks", "direct")
    (control / "tasks.exchange").touch()
    queue_of_tasks: Any = Queue(name_in(folder), exchange, routing_key="tasks")  # the stubs know names alone
    with connection.SimpleQueue(queue_of_tasks) as queue:
        queue.put("text")
        queue.get(timeout=5).ack()
    assert [path.name for path in control.iterdir()] == ["tasks.exchange"]
