"""Publishing to a real NATS, and to one that is away, frozen, full or without the stream."""

import asyncio
import threading
import traceback
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nats as nats_client
import pytest
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StreamConfig

from audit import publisher
from audit.answers import Ack, Outcome, Rejected
from audit.inbox import Inbox
from audit.publisher import Message, Publisher, Unreachable
from tests.servers import NatsServer, wait_until

SUBJECT = "audit.casartifact.casartifactuploaded"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """A NATS of the test's own, with an `audit` stream."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    with_jetstream(server, lambda js: js.add_stream(name="audit", subjects=["audit.>"]))
    yield server
    server.stop()


@pytest.fixture
def client(server: NatsServer) -> Iterator[Publisher]:
    publisher = Publisher(server.url)
    yield publisher
    publisher.close()


def with_jetstream(server: NatsServer, work: Any) -> Any:
    """Run a coroutine function over a connection of its own."""

    async def run() -> Any:
        async with await nats_client.connect(server.url) as connection:
            return await work(connection.jetstream())

    return asyncio.run(run())


def is_connected(publisher: Publisher) -> bool:
    return publisher._client is not None and publisher._client.is_connected


def messages(count: int, text: str = "{}") -> list[Message]:
    return [Message(SUBJECT, text, str(uuid.uuid4())) for _ in range(count)]


def test_acks_come_in_order_with_their_sequences(client: Publisher) -> None:
    assert client.publish(messages(1000)) == [Ack(sequence) for sequence in range(1, 1001)]


def test_message_is_on_the_wire_as_it_was_given(client: Publisher, server: NatsServer) -> None:
    message = Message(SUBJECT, '{"name":"ünï \\u003c"}', "the-id")
    client.publish([message])

    async def first(js: JetStreamContext) -> Any:
        return await js.get_msg("audit", 1)

    stored = with_jetstream(server, first)
    assert stored.data == message.payload.encode()
    assert stored.subject == SUBJECT
    assert stored.headers == {"Nats-Msg-Id": "the-id"}


def test_message_that_the_stream_has_is_a_duplicate(client: Publisher) -> None:
    batch = messages(2)
    client.publish(batch)
    assert client.publish(batch) == [Ack(1, is_duplicate=True), Ack(2, is_duplicate=True)]


def test_one_connection_serves_many_batches(client: Publisher) -> None:
    client.publish(messages(1))
    connection = client._client
    assert connection is not None
    subscriptions = len(connection._subs)
    for _ in range(20):
        client.publish(messages(3))
    assert client._client is connection
    assert len(connection._subs) == subscriptions


def test_too_large_a_message_never_will_be_taken_and_holds_up_no_other(client: Publisher) -> None:
    large = messages(1, "x" * 2_000_000)
    small = messages(1)
    rejected, ack = client.publish([*large, *small])
    assert isinstance(rejected, Rejected)
    assert rejected.is_permanent
    assert "larger than the 1048576 bytes" in rejected.reason
    assert isinstance(ack, Ack)


HOSTILE_SUBJECTS = [
    "",
    "two words",
    "a\r\nPUB x 0\r\n\r\n",
    "a\n",
    "a.*",
    "audit.>",
    ".a",
    "a..b",
    "a.",
    "\u00fcn\u00ef",
    "a\x00",
    "a" * 5000,
]


@pytest.mark.parametrize("subject", HOSTILE_SUBJECTS, ids=range(len(HOSTILE_SUBJECTS)))
def test_subject_that_cannot_be_never_will_be_taken_and_holds_up_no_other(client: Publisher, subject: str) -> None:
    rejected, ack = client.publish([Message(subject, "{}", "id"), *messages(1)])
    assert isinstance(rejected, Rejected)
    assert rejected.is_permanent
    assert "not a subject" in rejected.reason
    assert ack == Ack(1)


HOSTILE_IDS = ["", "two words", "a\r\nNats-Rollup: all", "a\n", "\u00fcn\u00ef", "a" * 5000]


@pytest.mark.parametrize("message_id", HOSTILE_IDS, ids=range(len(HOSTILE_IDS)))
def test_message_id_that_would_be_more_than_one_header_never_will_be_taken(client: Publisher, message_id: str) -> None:
    rejected, ack = client.publish([Message(SUBJECT, "{}", message_id), *messages(1)])
    assert isinstance(rejected, Rejected)
    assert rejected.is_permanent
    assert "not a message id" in rejected.reason
    assert ack == Ack(1)


def test_missing_stream_is_a_rejection_that_passes(client: Publisher) -> None:
    (outcome,) = client.publish([Message("nobody.listens", "{}", "id")])
    assert isinstance(outcome, Rejected)
    assert not outcome.is_permanent
    assert "no stream takes this subject" in outcome.reason


def test_full_stream_is_a_rejection_that_passes(client: Publisher, server: NatsServer) -> None:
    config = StreamConfig(name="audit", subjects=["audit.>"], max_msgs=1, discard=DiscardPolicy.NEW)
    with_jetstream(server, lambda js: js.update_stream(config))
    first, second = client.publish(messages(2))
    assert first == Ack(1)
    assert isinstance(second, Rejected)
    assert not second.is_permanent
    assert "maximum messages" in second.reason


def test_absent_server_is_unreachable_at_once_and_prints_nothing(
    client: Publisher, server: NatsServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def remember(seconds: float, *args: Any) -> None:
        pauses.append(seconds)
        await sleep(seconds, *args)

    server.stop()
    with monkeypatch.context() as patch:
        patch.setattr(publisher, "CONNECT_TIMEOUT", 60)  # what is told is not that time has passed
        patch.setattr(asyncio, "sleep", remember)
        with pytest.raises(Unreachable, match="Connect call failed"):
            client.connect()
    assert sum(pauses) == 0
    assert [record for record in caplog.records if record.name.startswith("nats")] == []


def test_server_that_never_answers_is_unreachable_in_time(
    client: Publisher, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.freeze()
    with monkeypatch.context() as patch:
        patch.setattr(publisher, "CONNECT_TIMEOUT", 1)
        with pytest.raises(Unreachable, match=r"the server did not answer in [\d.]+ seconds"):
            client.connect()
    server.thaw()


def test_server_that_freezes_leaves_the_outcome_open(
    client: Publisher, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "ACK_TIMEOUT", 0.3)
    client.connect()
    server.freeze()
    batch = messages(2)
    assert client.publish(batch) == [Rejected("no ack in time")] * 2
    server.thaw()
    # They had arrived all the same: sent again they are duplicates.
    wait_until(lambda: client.publish(batch) == [Ack(1, is_duplicate=True), Ack(2, is_duplicate=True)])


def test_same_publisher_works_again_when_the_server_is_back(client: Publisher, server: NatsServer) -> None:
    client.publish(messages(1))
    server.stop()
    wait_until(lambda: not is_connected(client), what="the client notices")
    with pytest.raises(Unreachable):
        client.publish(messages(1))
    server.start()
    assert client.publish(messages(1)) == [Ack(2)]


def test_connection_that_breaks_under_a_batch_is_a_rejection_that_passes(client: Publisher, server: NatsServer) -> None:
    client.connect()
    server.freeze()  # so that nothing is acked before it is gone

    def stop() -> None:
        wait_until(lambda: client._client is not None and client._client.stats["out_msgs"] > sent)
        server.stop()

    assert client._client is not None
    sent = client._client.stats["out_msgs"]
    killer = threading.Thread(target=stop)
    killer.start()
    (outcome,) = client.publish(messages(1))
    killer.join()
    assert outcome == Rejected("the connection was lost before an ack came")


def test_process_has_one_publisher_and_a_fork_another(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "_publisher", None)
    publisher.connect()
    first = publisher._this_process()
    assert publisher._this_process() is first
    assert publisher._publisher is not None
    monkeypatch.setattr(publisher, "_publisher", (publisher._publisher[0] - 1, first))
    second = publisher._this_process()
    assert second is not first
    assert isinstance(publisher.publish(messages(1))[0], Ack)
    first.close()
    second.close()


def test_threads_that_find_no_connection_share_the_one_that_is_made(client: Publisher) -> None:
    together = threading.Barrier(8)

    def publish(message: Message) -> Outcome:
        together.wait(10)
        return client.publish([message])[0]

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(publish, messages(8)))
    assert sorted(outcome.sequence for outcome in outcomes if isinstance(outcome, Ack)) == list(range(1, 9))


@pytest.mark.parametrize(
    "answer", [b"hello", b"[]", b"null", b'"text"', b"{}", b'{"error":{}}', b'{"error":"text"}', b"\xff"]
)
def test_answer_that_is_no_ack_is_a_rejection_and_hurts_no_other(
    client: Publisher, server: NatsServer, answer: bytes
) -> None:
    with somebody_who_answers(server, "not-the-stream", answer):
        stranger, ack = client.publish([Message("not-the-stream", "{}", "id"), *messages(1)])
    assert isinstance(stranger, Rejected)
    assert not stranger.is_permanent
    assert ack == Ack(1)


@contextmanager
def somebody_who_answers(server: NatsServer, subject: str, answer: bytes) -> Iterator[None]:
    """A client that takes messages for itself and answers them as no stream would."""
    is_listening, is_over = threading.Event(), threading.Event()

    async def listen() -> None:
        async def respond(message: Msg) -> None:
            await message.respond(answer)

        async with await nats_client.connect(server.url) as connection:
            await connection.subscribe(subject, cb=respond)
            await connection.flush()
            is_listening.set()
            await asyncio.to_thread(is_over.wait)

    thread = threading.Thread(target=asyncio.run, args=(listen(),))
    thread.start()
    assert is_listening.wait(10)
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.mark.parametrize("room", [0, 1, 62])
def test_message_that_only_its_header_makes_too_large_takes_no_other_with_it(client: Publisher, room: int) -> None:
    (before, after) = messages(2)
    client.connect()
    (large,) = messages(1, "x" * (1024 * 1024 - room))  # the server counts the header too
    first, rejected, last = client.publish([before, large, after])
    assert isinstance(rejected, Rejected)
    assert rejected.is_permanent
    assert (first, last) == (Ack(1), Ack(2))


def test_largest_message_that_the_server_takes_is_acked(client: Publisher) -> None:
    header = len("NATS/1.0\r\nNats-Msg-Id: \r\n\r\n") + len(str(uuid.uuid4()))
    (message,) = messages(1, "x" * (1024 * 1024 - header))
    assert client.publish([message]) == [Ack(1)]


def test_message_larger_than_its_owner_lets_the_stream_take_never_will_be_taken_and_holds_up_no_other(
    client: Publisher, server: NatsServer
) -> None:
    config = StreamConfig(name="audit", subjects=["audit.>"], max_msg_size=100)
    with_jetstream(server, lambda js: js.update_stream(config))
    large, ack = client.publish([*messages(1, "x" * 200), *messages(1)])
    assert isinstance(large, Rejected)
    assert large.is_permanent
    assert large.reason == "message size exceeds maximum allowed (JetStream error 10054)"
    assert ack == Ack(1)


def test_server_frozen_until_the_socket_is_full_holds_up_no_batch(
    client: Publisher, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.connect()
    monkeypatch.setattr(publisher, "ACK_TIMEOUT", 0.6)
    monkeypatch.setattr(publisher, "CONNECT_TIMEOUT", 0.12)  # in the proportion that they have
    server.freeze()
    batch = messages(100, "x" * 100_000)  # far more than the kernel takes for it
    for _ in range(3):
        with suppress(Unreachable):
            assert all(isinstance(outcome, Rejected) for outcome in client.publish(batch))
    server.thaw()
    monkeypatch.setattr(publisher, "CONNECT_TIMEOUT", 2)
    wait_until(lambda: acks_one(client), what="it publishes again")
    wait_until(lambda: is_idle(client), what="nothing of the old batches runs on")


def is_idle(publisher: Publisher) -> bool:
    """Only what one connection is made of runs: its reader, flusher and pings, and the subscription for acks."""
    return len(asyncio.all_tasks(publisher._loop)) <= 4


def acks_one(client: Publisher) -> bool:
    try:
        return isinstance(client.publish(messages(1))[0], Ack)
    except Unreachable:
        return False


def test_other_server_is_used_though_the_connection_to_the_frozen_one_cannot_be_closed(
    client: Publisher, server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.connect()
    monkeypatch.setattr(publisher, "ACK_TIMEOUT", 0.2)
    monkeypatch.setattr(publisher, "CONNECT_TIMEOUT", 0.5)
    server.freeze()
    with suppress(Unreachable):
        client.publish(messages(100, "x" * 100_000))
    other = NatsServer(tmp_path / "other")
    other.start()
    client._url = other.url
    try:
        wait_until(lambda: reaches(client), what="it reaches the other server")
        monkeypatch.setattr(publisher, "ACK_TIMEOUT", 10)
        monkeypatch.setattr(publisher, "CONNECT_TIMEOUT", 2)
        with_jetstream(other, lambda js: js.add_stream(name="audit", subjects=["audit.>"]))
        assert client.publish(messages(1)) == [Ack(1)]
        server.thaw()
        wait_until(lambda: is_idle(client), what="the old connection is closed")
    finally:
        server.thaw()
        other.stop()


def reaches(client: Publisher) -> bool:
    try:
        client.connect()
    except Unreachable:
        return False
    return True


def test_server_that_is_away_is_passed_over_for_one_that_is_there(server: NatsServer) -> None:
    client = Publisher(f"nats://127.0.0.1:1,{server.url}")
    try:
        assert client.publish(messages(1)) == [Ack(1)]
    finally:
        client.close()


def test_name_that_does_not_resolve_is_unreachable() -> None:
    client = Publisher("nats://nowhere.invalid:4222")
    try:
        with pytest.raises(Unreachable):
            client.connect()
    finally:
        client.close()


@pytest.mark.parametrize(
    ("arguments", "credentials"),
    [
        (("--user", "cas", "--pass", "right-password"), "cas:right-password@"),
        (("--auth", "right-token"), "right-token@"),
    ],
    ids=["user and password", "token"],
)
def test_credentials_in_the_address_are_used(tmp_path: Path, arguments: tuple[str, ...], credentials: str) -> None:
    server = NatsServer(tmp_path / "nats", *arguments)
    server.start()
    server.url = server.url.replace("//", f"//{credentials}")
    client = Publisher(server.url)
    try:
        with_jetstream(server, lambda js: js.add_stream(name="audit", subjects=["audit.>"]))
        assert client.publish(messages(1)) == [Ack(1)]
    finally:
        client.close()
        server.stop()


@contextmanager
def limited(folder: Path, permissions: str) -> Iterator[Publisher]:
    """A publisher whose user may do only this, at a server that has an `audit` stream."""
    config = folder / "config"
    config.write_text(f"""
        authorization {{
            users: [
                {{ user: owner, password: secret }}
                {{ user: cas, password: secret, permissions: {{ {permissions} }} }}
            ]
        }}
    """)
    server = NatsServer(folder / "nats", "--config", str(config))
    server.start()
    url = server.url
    server.url = url.replace("//", "//owner:secret@")
    client = Publisher(url.replace("//", "//cas:secret@"))
    try:
        with_jetstream(server, lambda js: js.add_stream(name="audit", subjects=["audit.>"]))
        yield client
    finally:
        client.close()
        server.stop()


def test_subject_that_may_not_be_published_to_is_told_at_once_and_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "ACK_TIMEOUT", 600.0)
    forbidden = [Message("audit.castrail.Checkpoint", "{}", str(uuid.uuid4())) for _ in range(2)]
    with limited(tmp_path, 'publish: { deny: "audit.castrail.>" }') as client:
        first, *taken, last = client.publish([forbidden[0], *messages(2), forbidden[1]])
    assert taken == [Ack(1), Ack(2)]
    assert first == last
    assert isinstance(first, Rejected)
    assert not first.is_permanent
    assert 'permissions violation for publish to "audit.castrail.checkpoint"' in first.reason.lower()


def test_answers_that_may_not_be_read_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "ACK_TIMEOUT", 3.0)
    with limited(tmp_path, 'subscribe: { deny: "_INBOX.>" }') as client:
        (outcome,) = client.publish(messages(1))
    assert isinstance(outcome, Rejected)
    assert not outcome.is_permanent
    assert outcome.reason.startswith("no ack in time; NATS: ")
    assert "permissions violation for subscription to" in outcome.reason.lower()


def test_complaint_of_the_server_is_text_that_a_database_can_hold() -> None:
    inbox = Inbox("")
    asyncio.run(publisher._note(inbox, nats_client.errors.Error("nats: a\0b")))
    assert inbox.complaint == "Error: nats: a\ufffdb"


def test_refused_password_is_unreachable_and_is_shown_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    server = NatsServer(tmp_path / "nats", "--user", "cas", "--pass", "right-password")
    server.start()
    client = Publisher(server.url.replace("//", "//cas:wrong-password@"))
    try:
        with pytest.raises(Unreachable) as raised:
            client.connect()
    finally:
        client.close()
        server.stop()
    shown = "".join(traceback.format_exception(raised.value))
    assert "wrong-password" not in shown
    assert "wrong-password" not in caplog.text
