"""Publishes to JetStream: the one importer of nats in the server and the worker. It cannot touch streams.

One connection a process, on an event loop in a thread of its own, so that the server's pings are answered
while no task runs. Both are made by the first task, hence after the worker's fork.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import nats.errors
import nats.js.errors
from django.conf import settings
from nats.aio.client import Client
from nats.js import JetStreamContext

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 2  # seconds
ACK_TIMEOUT = 10.0  # seconds for a whole batch

_T = TypeVar("_T")


class Unreachable(Exception):
    """There is no connection to NATS, and none can be made."""


@dataclass(frozen=True, slots=True)
class Message:
    subject: str
    payload: str
    message_id: str


@dataclass(frozen=True, slots=True)
class Ack:
    """The stream has the message; `is_duplicate` when it had it already."""

    sequence: int
    is_duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """No ack. The message may have arrived all the same, unless `is_permanent`: then it never will."""

    reason: str
    is_permanent: bool = False


Outcome = Ack | Rejected


class Publisher:
    """A connection and the loop it lives on."""

    def __init__(self, url: str) -> None:
        self._servers = url.split(",")
        self._client: Client | None = None
        self._stream: JetStreamContext | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="audit-publisher", daemon=True)
        self._thread.start()

    def connect(self) -> None:
        """Make sure there is a connection; raise Unreachable."""
        self._run(self._connect(), CONNECT_TIMEOUT * 2)

    def publish(self, messages: Sequence[Message]) -> list[Outcome]:
        """Publish all at once, wait for the acks, and return what became of each; raise Unreachable."""
        return self._run(self._publish(messages), CONNECT_TIMEOUT * 2 + ACK_TIMEOUT * 2)

    def close(self) -> None:
        """Close the connection and stop the loop."""
        self._run(self._disconnect(), CONNECT_TIMEOUT)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, _T], timeout: float) -> _T:
        # The inner timeouts come first; this one only keeps a task from waiting for ever on a broken loop.
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    async def _connect(self) -> JetStreamContext:
        if self._client is not None and self._stream is not None and self._client.is_connected:
            return self._stream
        await self._disconnect()
        self._client = Client()
        try:
            # One attempt: whether to try again is the outbox's business. (`allow_reconnect=False` would not fail fast.)
            await asyncio.wait_for(
                self._client.connect(
                    self._servers,
                    name="artifact-cas",
                    connect_timeout=CONNECT_TIMEOUT,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    error_cb=_ignore,
                ),
                CONNECT_TIMEOUT * 1.5,
            )
        except (nats.errors.Error, OSError, TimeoutError) as error:
            await self._disconnect()
            raise Unreachable(_reason(error)) from error
        self._stream = self._client.jetstream()
        return self._stream

    async def _disconnect(self) -> None:
        if self._client is not None:
            await self._client.close()
        self._client = self._stream = None

    async def _publish(self, messages: Sequence[Message]) -> list[Outcome]:
        stream = await self._connect()
        return list(await asyncio.gather(*(_publish_one(stream, message) for message in messages)))


async def _ignore(error: Exception) -> None:
    """What goes wrong on the connection shows in the outcome of each publish; nats-py would print a traceback."""
    logger.debug("NATS: %s", error)


async def _publish_one(stream: JetStreamContext, message: Message) -> Outcome:
    # Not `publish_async`: nats-py 2.16 raises an error answer inside its own callback, and the future never ends.
    try:
        ack = await stream.publish(
            message.subject,
            message.payload.encode(),
            timeout=ACK_TIMEOUT,
            headers={"Nats-Msg-Id": message.message_id},
        )
    except (nats.errors.MaxPayloadError, nats.errors.BadSubjectError) as error:
        return Rejected(_reason(error), is_permanent=True)
    except (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError) as error:
        return Rejected(_reason(error))
    return Ack(ack.seq, bool(ack.duplicate))


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


_publisher: tuple[int, Publisher] | None = None
_lock = threading.Lock()


def _this_process() -> Publisher:
    global _publisher  # noqa: PLW0603  (one connection a process is the point)
    with _lock:
        if _publisher is None or _publisher[0] != os.getpid():
            _publisher = os.getpid(), Publisher(settings.NATS_URL)
        return _publisher[1]


def connect() -> None:
    """Make sure this process has a connection; raise Unreachable."""
    _this_process().connect()


def publish(messages: Sequence[Message]) -> list[Outcome]:
    """Publish over this process's connection; see Publisher.publish."""
    return _this_process().publish(messages)
