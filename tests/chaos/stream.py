"""The hand of the stream's owner: makes it, fills it, deletes it, reads it. The project itself never does."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import nats
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy, DiscardPolicy, StorageType, StreamConfig

NAME = "chainloop-audit"
SUBJECTS = ["audit.>"]
WINDOW = 120.0  # seconds in which a second message with the same id is dropped
T = TypeVar("T")


class Stream:
    """The audit stream at this address. `ids` goes on over deleted streams: what was read is kept."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._read: list[str] = []
        self._next = 1

    def create(self) -> None:
        self._do(lambda js: js.add_stream(_config()))
        self._next = 1

    def change(self, **values: Any) -> None:
        """Give the stream other settings than the usual, or those again."""
        self._do(lambda js: js.update_stream(_config(**values)))

    def fill(self) -> None:
        """Let it take no message more than it has."""

        async def fill(js: JetStreamContext) -> None:
            messages = (await js.stream_info(NAME)).state.messages
            await js.update_stream(_config(max_msgs=max(messages, 1), discard=DiscardPolicy.NEW))

        self._do(fill)

    def delete(self) -> None:
        """Take note of what is in it and delete it, with no message arriving in between."""
        self.change(subjects=["nothing.here"])  # for who publishes, it is gone by now
        self.ids()
        self._do(lambda js: js.delete_stream(NAME))

    def ids(self) -> list[str]:
        """The `Nats-Msg-Id` of every message that ever was in it, in order."""

        async def read(js: JetStreamContext) -> None:
            last = (await js.stream_info(NAME)).state.last_seq
            if self._next > last:
                return
            start = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=self._next)
            subscription = await js.subscribe(">", stream=NAME, ordered_consumer=True, config=start)
            while self._next <= last:
                message = await subscription.next_msg(10)
                self._read.append((message.headers or {}).get("Nats-Msg-Id", ""))
                self._next = message.metadata.sequence.stream + 1

        self._do(read)
        return list(self._read)

    def _do(self, work: Callable[[JetStreamContext], Awaitable[T]]) -> T:
        async def connected() -> T:
            async with await nats.connect(self._url, connect_timeout=5, max_reconnect_attempts=3) as client:
                return await work(client.jetstream())

        return asyncio.run(connected())


def _config(**values: Any) -> StreamConfig:
    usual = {"name": NAME, "subjects": SUBJECTS, "storage": StorageType.FILE, "duplicate_window": WINDOW}
    return StreamConfig(**{**usual, "max_msgs": -1, **values})
