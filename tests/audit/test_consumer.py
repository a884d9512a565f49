"""Reading the stream, whatever is in it and whatever happens to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from pytest_django import Settings

from audit import consumer as consumer_module
from audit.consumer import BATCH, Consumer, Received, Refused, Unreachable
from tests.audit.streams import STREAM, make_stream, publish, publish_raw, raw, with_stream
from tests.servers import NatsServer, wait_until


def all_of(consumer: Consumer) -> list[Received]:
    received: list[Received] = []
    while messages := consumer.read():
        received += messages
    return received


def fill(server: NatsServer, count: int) -> None:
    commands = [b"PUB audit.x %d\r\n%d\r\n" % (len(str(number)), number) for number in range(count)]
    publish_raw(server.url, *commands)


def test_everything_comes_once_and_in_order(server: NatsServer) -> None:
    fill(server, 2 * BATCH + 1)
    with Consumer(name="reader") as consumer:
        received = all_of(consumer)
        consumer.ack(received)
        wait_until(lambda: consumer.standing().unacked == 0, what="the server counts the acks")
        assert consumer.standing().acked == len(received)
    assert [message.sequence for message in received] == list(range(1, 2 * BATCH + 2))
    assert [int(message.payload) for message in received] == list(range(2 * BATCH + 1))
    with Consumer(name="reader") as again:
        assert again.read() == []


def test_message_that_was_not_acked_comes_again(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_module, "ACK_WAIT", 1.0)
    fill(server, 2)
    with Consumer(name="reader") as consumer:
        first, second = consumer.read()
        consumer.ack([first])
        (again,) = consumer.read(10)
    assert (again.sequence, again.key) == (second.sequence, second.key)
    assert again.consumer_sequence == second.consumer_sequence + 1


def test_message_that_comes_while_it_waits_is_read(server: NatsServer) -> None:
    with Consumer(name="reader") as consumer:
        assert consumer.read(0.05) == []
        fill(server, 3)
        received = consumer.read(10)  # a consumer hears of them one by one, after the stream
        while len(received) < 3 and (more := consumer.read(10)):
            received += more
    assert [message.sequence for message in received] == [1, 2, 3]


def test_two_readers_share_the_messages(server: NatsServer) -> None:
    fill(server, BATCH + 5)
    with Consumer(name="reader") as one, Consumer(name="reader") as other:
        assert [len(one.read()), len(other.read())] == [BATCH, 5]


def test_nameless_consumer_starts_where_it_is_told_and_leaves_nothing_acked(server: NatsServer) -> None:
    fill(server, 5)
    for _ in range(2):
        with Consumer(start=4) as consumer:
            assert [message.sequence for message in all_of(consumer)] == [4, 5]


@pytest.mark.parametrize(
    "headers",
    [
        b"NATS/1.0",
        b"NATS/1.0 \xff\xfe\xfd \xff\r\n\r\n",
        b"NATS/1.0 409 Consumer Deleted\r\n\r\n",
        b"NATS/1.0 503\r\n\r\n",
        b"NATS/1.0 404 No Messages\r\n\r\n",
        b"NATS/1.0\r\nNats-Msg-Id: \xff\xfe\r\n\r\n",
        b"NATS/1.0\r\n: nameless\r\n\xff: 1\r\nno colon\r\n\r\n",
        b"no headers at all",
    ],
)
def test_hostile_headers_are_read_over(server: NatsServer, headers: bytes) -> None:
    publish_raw(server.url, raw(headers, b"first"), raw(b"NATS/1.0\r\nNats-Msg-Id: x\r\n\r\n", b"second"))
    with Consumer(name="reader") as consumer:
        received = consumer.read()
    assert [message.payload for message in received] == [b"first", b"second"]
    assert received[1].message_id == "x"


def test_subject_that_is_not_utf_8_is_read(server: NatsServer) -> None:
    publish_raw(server.url, b"PUB audit.\xff\xfe 2\r\nhi\r\n")
    with Consumer(name="reader") as consumer:
        (message,) = consumer.read()
    assert message.subject == "audit.\ufffd\ufffd"


def test_key_is_the_message_id_and_else_its_place(server: NatsServer) -> None:
    publish(server.url, b"", message_id="given")
    publish(server.url, b"", message_id=None)
    with Consumer(name="reader") as consumer:
        named, nameless = consumer.read()
    assert named.key == "given"
    assert nameless.key == f"#2@{nameless.time.isoformat()}"


def test_nats_that_went_away_is_said_and_can_be_connected_to_again(server: NatsServer) -> None:
    fill(server, 1)
    with Consumer(name="reader") as consumer:
        server.stop()
        with pytest.raises(Unreachable):
            consumer.read(10)
        with pytest.raises(Unreachable):
            consumer.connect()
        with pytest.raises(Unreachable):
            consumer.read()
        server.start()
        consumer.connect()
        assert len(consumer.read(10)) == 1


def test_nats_that_freezes_is_said(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with Consumer(name="reader") as consumer:
        monkeypatch.setattr(consumer_module, "ANSWER_TIMEOUT", 0.2)
        monkeypatch.setattr(consumer_module, "CONNECT_TIMEOUT", 0.2)
        server.freeze()
        try:
            with pytest.raises(Unreachable, match="does not answer"):
                consumer.read()
            with pytest.raises(Unreachable, match=r"the server did not answer in 0\.\d seconds"):
                consumer.connect()
        finally:
            server.thaw()


def test_absent_nats_and_unset_nats_are_said(settings: Settings) -> None:
    settings.NATS_URL = "nats://127.0.0.1:1"
    with pytest.raises(Unreachable, match="NATS: "), Consumer(name="reader"):
        pass
    settings.NATS_URL = ""
    with pytest.raises(Refused, match="NATS_URL is not set"), Consumer(name="reader"):
        pass


@pytest.mark.parametrize("name", ["reader", ""])
def test_missing_stream_is_said(server: NatsServer, name: str) -> None:
    with pytest.raises(Refused, match="There is no stream elsewhere"), Consumer("elsewhere", name):
        pass


def test_consumer_deleted_while_it_is_read_is_said(server: NatsServer) -> None:
    with Consumer(name="reader") as consumer:
        with_stream(server.url, lambda stream: stream.delete_consumer(STREAM, "reader"))
        with pytest.raises(Refused, match="There is no consumer reader of stream"):
            consumer.read(10)


def test_stream_deleted_while_it_is_read_is_said(server: NatsServer) -> None:
    with Consumer(name="reader") as consumer:
        with_stream(server.url, lambda stream: stream.delete_stream(STREAM))
        with pytest.raises(Refused, match="There is no stream"):
            consumer.read(10)


@pytest.mark.parametrize("values", [{"deliver_subject": "somewhere"}, {"ack_policy": AckPolicy.NONE}])
def test_consumer_that_cannot_be_pulled_from_is_refused(server: NatsServer, values: dict[str, object]) -> None:
    config = ConsumerConfig(durable_name="theirs", **values)  # type: ignore[arg-type]  # values of its own
    with_stream(server.url, lambda stream: stream.add_consumer(STREAM, config))
    with pytest.raises(Refused, match="not one to pull from"), Consumer(name="theirs"):
        pass


@pytest.mark.parametrize(
    "values",
    [
        {"deliver_policy": DeliverPolicy.NEW},
        {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": 2},
        {"max_deliver": 3},
        {"headers_only": True},
        {"filter_subject": "audit.casartifact.>"},
        {"filter_subjects": ["audit.a", "audit.b"]},
    ],
)
def test_consumer_that_leaves_events_out_is_refused(server: NatsServer, values: dict[str, object]) -> None:
    config = ConsumerConfig(durable_name="theirs", ack_policy=AckPolicy.EXPLICIT, **values)  # type: ignore[arg-type]  # as above
    with_stream(server.url, lambda stream: stream.add_consumer(STREAM, config))
    with pytest.raises(Refused, match="would leave events out"), Consumer(name="theirs"):
        pass


def test_consumer_of_all_audit_events_may_have_a_filter_that_says_so(server: NatsServer) -> None:
    config = ConsumerConfig(durable_name="theirs", ack_policy=AckPolicy.EXPLICIT, filter_subject="audit.>")
    with_stream(server.url, lambda stream: stream.add_consumer(STREAM, config))
    fill(server, 1)
    with Consumer(name="theirs") as consumer:
        assert len(consumer.read(10)) == 1


@pytest.mark.parametrize("name", ["reader", ""])
def test_large_messages_come_a_few_at_a_time(server: NatsServer, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(consumer_module, "BATCH_BYTES", 10_000)
    sizes = [3_000, 50_000, 4_000, 4_000, 4_000, 100, 50_000]
    publish_raw(server.url, *(b"PUB audit.x %d\r\n%b\r\n" % (size, b"x" * size) for size in sizes))
    reads: list[list[int]] = []
    with Consumer(name=name) as consumer:
        wait_until(lambda: consumer.standing().waiting == len(sizes), what="the consumer knows of them")
        while messages := consumer.read():
            reads.append([len(message.payload) for message in messages])
    assert [size for read in reads for size in read] == sizes
    assert all(sum(read) < 10_000 for read in reads if len(read) > 1)
    assert len(reads) < len(sizes)


def test_consumer_that_allows_few_at_a_time_is_read_to_its_end(server: NatsServer) -> None:
    config = ConsumerConfig(durable_name="narrow", max_ack_pending=2)
    with_stream(server.url, lambda stream: stream.add_consumer(STREAM, config))
    fill(server, 5)
    with Consumer(name="narrow") as consumer:
        count = 0
        while messages := consumer.read():
            count += len(messages)
            consumer.ack(messages)
    assert count == 5


def test_consumer_that_others_have_exhausted_has_nothing_for_now(server: NatsServer) -> None:
    config = ConsumerConfig(durable_name="narrow", max_ack_pending=2)
    with_stream(server.url, lambda stream: stream.add_consumer(STREAM, config))
    fill(server, 3)
    with Consumer(name="narrow") as other, Consumer(name="narrow") as consumer:
        taken = other.read()
        assert len(taken) == 2
        assert consumer.read(0.1) == []
        other.ack(taken)
        assert len(consumer.read(10)) == 1


def test_restart_begins_at_the_first_message(server: NatsServer) -> None:
    fill(server, 3)
    with Consumer(name="reader") as consumer:
        consumer.ack(consumer.read())
        before = consumer.created
        consumer.restart()
        assert [message.sequence for message in consumer.read()] == [1, 2, 3]
        assert consumer.created != before


GUARDED = """
authorization {
  users = [
    {user: owner, password: owner}
    {user: bound, password: bound, permissions: {
      publish: ["$JS.API.CONSUMER.INFO.chainloop-audit.mine", "$JS.API.CONSUMER.MSG.NEXT.chainloop-audit.mine",
                "$JS.ACK.chainloop-audit.mine.>"],
      subscribe: ["_INBOX.>"]}}
    {user: maker, password: maker, permissions: {
      publish: ["$JS.API.CONSUMER.INFO.chainloop-audit.mine", "$JS.API.CONSUMER.MSG.NEXT.chainloop-audit.mine",
                "$JS.ACK.chainloop-audit.mine.>", "$JS.API.CONSUMER.CREATE.chainloop-audit.mine"],
      subscribe: ["_INBOX.>"]}}
    {user: comparer, password: comparer, permissions: {
      publish: ["$JS.API.CONSUMER.CREATE.chainloop-audit.*", "$JS.API.CONSUMER.INFO.chainloop-audit.*",
                "$JS.API.CONSUMER.MSG.NEXT.chainloop-audit.*"],
      subscribe: ["_INBOX.>"]}}
    {user: nobody, password: nobody, permissions: {publish: ["audit.>"], subscribe: ["_INBOX.>"]}}
  ]
}
"""


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[NatsServer]:
    """A NATS with the users of GUARDED."""
    config = tmp_path / "nats.conf"
    config.write_text(GUARDED)
    server = NatsServer(tmp_path / "guarded", "-c", str(config))
    server.start()
    make_stream(as_user(server, "owner"))
    yield server
    server.stop()


def as_user(server: NatsServer, user: str) -> str:
    return server.url.replace("//", f"//{user}:{user}@")


def test_consumer_that_its_owner_prepared_needs_no_permission_to_make_one(
    guarded: NatsServer, settings: Settings
) -> None:
    settings.NATS_URL = as_user(guarded, "bound")
    with (
        pytest.raises(Refused, match=r"(?i)permissions violation for Publish to .*CONSUMER\.CREATE"),
        Consumer(name="mine"),
    ):
        pass
    owner = as_user(guarded, "owner")
    with_stream(owner, lambda stream: stream.add_consumer(STREAM, ConsumerConfig(durable_name="mine")))
    publish(owner, b"hello")
    with Consumer(name="mine") as consumer:
        consumer.ack(consumer.read(10))
        wait_until(lambda: consumer.standing().acked == 1)
        with pytest.raises(Refused, match=r"(?i)consumer\.delete"):
            consumer.restart()


def test_permission_to_make_its_own_consumer_is_enough(guarded: NatsServer, settings: Settings) -> None:
    publish(as_user(guarded, "owner"), b"hello")
    settings.NATS_URL = as_user(guarded, "maker")
    with Consumer(name="mine") as consumer:
        consumer.ack(consumer.read(10))
        wait_until(lambda: consumer.standing().acked == 1)


def test_nameless_consumer_needs_no_other_permission_than_the_documented(
    guarded: NatsServer, settings: Settings
) -> None:
    publish(as_user(guarded, "owner"), b"hello")
    settings.NATS_URL = as_user(guarded, "comparer")
    with Consumer() as consumer:
        assert consumer.standing().waiting == 1
        assert len(consumer.read(10)) == 1


def test_missing_permission_is_said(guarded: NatsServer, settings: Settings) -> None:
    settings.NATS_URL = as_user(guarded, "nobody")
    with (
        pytest.raises(Refused, match=r"(?i)permissions violation for Publish to .*CONSUMER\.INFO"),
        Consumer(name="mine"),
    ):
        pass


def test_wrong_password_is_said_without_it(guarded: NatsServer, settings: Settings) -> None:
    settings.NATS_URL = guarded.url.replace("//", "//owner:wrong-password@")
    with pytest.raises(Unreachable) as raised, Consumer(name="mine"):
        pass
    assert "wrong-password" not in str(raised.value)
