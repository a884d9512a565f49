"""Messages in files: whole or not there at all."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty

import pytest
from celery import current_app
from kombu import Connection
from kombu.exceptions import ChannelError

from audit import nudge
from casproject import embedded_broker


def connect(folder: Path) -> Connection:
    return Connection(
        "embedded://",
        transport_options={
            "data_folder_in": str(folder / "messages"),
            "data_folder_out": str(folder / "messages"),
            "control_folder": str(folder / "control"),
            "polling_interval": 0.01,
        },
    )


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Connection]:
    with connect(tmp_path) as connection:
        yield connection


@pytest.fixture
def messages(tmp_path: Path) -> Path:
    """Where the broker keeps its messages."""
    return tmp_path / "messages"


def test_folder_is_made_by_the_first_who_comes(broker: Connection, messages: Path) -> None:
    assert not messages.exists()
    broker.SimpleQueue("wakes")
    assert messages.is_dir()


def test_messages_come_out_in_order_and_once(broker: Connection, messages: Path) -> None:
    queue = broker.SimpleQueue("wakes")
    for number in range(3):
        queue.put({"number": number, "text": "ünï\n"})
    received = []
    for _ in range(3):
        message = queue.get(timeout=5)
        received.append(message.payload)
        message.ack()
    assert sorted(payload["number"] for payload in received) == [0, 1, 2]
    assert received[0]["text"] == "ünï\n"
    with pytest.raises(Empty):
        queue.get_nowait()
    assert list(messages.iterdir()) == []


def test_queues_do_not_mix(broker: Connection) -> None:
    broker.SimpleQueue("one").put("for one")
    with pytest.raises(Empty):
        broker.SimpleQueue("two").get_nowait()
    assert broker.SimpleQueue("one").get_nowait().payload == "for one"


def test_reader_sees_nothing_of_a_message_that_is_being_written(
    broker: Connection, messages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = broker.SimpleQueue("wakes")
    seen: list[str] = []
    replace = Path.replace

    def look_then_replace(path: Path, target: Path) -> Path:
        with pytest.raises(Empty):
            queue.get_nowait()
        seen.extend(file.suffix for file in messages.iterdir())
        json.loads(path.read_text())  # all of it is there before it gets its name
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", look_then_replace)
    queue.put("hello")
    assert seen == [".partial"]
    assert queue.get_nowait().payload == "hello"


def test_full_disk_is_an_error_and_leaves_nothing_that_a_worker_could_choke_on(
    broker: Connection, messages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = broker.SimpleQueue("wakes")

    def write_half(path: Path, text: str) -> int:
        path.write_bytes(text.encode()[: len(text) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", write_half)
        with pytest.raises(ChannelError):
            queue.put("lost")
    assert list(messages.iterdir()) == []
    queue.put("after")
    assert queue.get_nowait().payload == "after"


def test_several_workers_get_each_message_once(tmp_path: Path) -> None:
    with connect(tmp_path) as connection:
        queue = connection.SimpleQueue("wakes")
        for number in range(40):
            queue.put(number)

    def work() -> list[int]:
        mine: list[int] = []
        with connect(tmp_path) as connection:
            queue = connection.SimpleQueue("wakes")
            while True:
                try:
                    message = queue.get_nowait()
                except Empty:
                    return mine
                mine.append(message.payload)
                message.ack()

    with ThreadPoolExecutor(4) as pool:
        received = [future.result() for future in [pool.submit(work) for _ in range(4)]]
    assert sorted(number for mine in received for number in mine) == list(range(40))


def test_nudge_is_a_message_that_a_worker_can_read() -> None:
    assert current_app.conf.broker_url == f"{embedded_broker.SCHEME}://"
    with current_app.connection_for_read() as connection:
        queue = connection.SimpleQueue("celery")
        queue.clear()
        nudge.send()
        message = queue.get(timeout=5)
        message.ack()
    assert message.headers["task"] == "audit.tasks.publish_pending"
    assert message.headers["task"] in current_app.tasks
    assert message.headers["expires"]
