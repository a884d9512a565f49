"""A stream for tests to write to, of whatever anybody may publish, and what owners do with it."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import nats as nats_client
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo, StreamConfig

from audit.events import Event
from tests.servers import wait_until

STREAM = "chainloop-audit"
_T = TypeVar("_T")


def with_client(url: str, work: Callable[[Client], Awaitable[_T]]) -> _T:
    """Do it over a connection of its own."""

    async def do() -> _T:
        async with await nats_client.connect(url) as client:
            return await work(client)

    return asyncio.run(do())


def with_stream(url: str, work: Callable[[JetStreamContext], Awaitable[_T]]) -> _T:
    """Do it with JetStream, as its owner."""
    return with_client(url, lambda client: work(client.jetstream()))


def make_stream(url: str, **config: Any) -> None:
    """The audit stream; by default it forgets ids after 0.1 s, so that doubles get in."""
    values = {"name": STREAM, "subjects": ["audit.>"], "duplicate_window": 0.1, **config}
    with_stream(url, lambda stream: stream.add_stream(StreamConfig(**values)))


def consumer_info(url: str, name: str) -> ConsumerInfo:
    """What the server says of one of the stream's consumers."""
    info: ConsumerInfo = with_stream(url, lambda stream: stream.consumer_info(STREAM, name))
    return info


def publish_events(url: str, *events: Event) -> None:
    """As the outbox does."""

    async def publish(stream: JetStreamContext) -> None:
        for event in events:
            await stream.publish(event.subject, event.payload().encode(), headers={"Nats-Msg-Id": str(event.event_id)})

    with_stream(url, publish)


def publish(url: str, payload: bytes, subject: str = "audit.other", message_id: str | None = "") -> None:
    """As anybody may; "" is an id of its own, None none at all."""
    headers = None if message_id is None else {"Nats-Msg-Id": message_id or str(uuid.uuid4())}
    with_stream(url, lambda stream: stream.publish(subject, payload, headers=headers))


def publish_raw(url: str, *commands: bytes) -> None:
    """Send protocol lines that no library would, each with one message; returns when the stream has them all."""

    async def send(client: Client) -> None:
        for command in commands:
            cast(Any, client)._transport.write(command)
        await client.flush()

    def last_sequence() -> int:
        return with_stream(url, lambda stream: stream.stream_info(STREAM)).state.last_seq

    wanted = last_sequence() + len(commands)
    with_client(url, send)
    # When NATS has read them, JetStream has yet to store them.
    wait_until(lambda: last_sequence() >= wanted, what="the stream has them")


def raw(headers: bytes, payload: bytes, subject: bytes = b"audit.raw") -> bytes:
    """A message with these very headers."""
    return b"HPUB %s %d %d\r\n%s%s\r\n" % (subject, len(headers), len(headers) + len(payload), headers, payload)
