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
from typing import Any, TypeVar, cast

import nats.errors
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


def longest_batch() -> float:
    """Seconds that publishing a batch can take, connecting included."""
    return CONNECT_TIMEOUT * 6 + ACK_TIMEOUT


class Publisher:
    """A connection and the loop it lives on."""

    def __init__(self, url: str) -> None:
        self._servers = url.split(",")
        self._client: Client | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._connecting = asyncio.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="audit-publisher", daemon=True)
        self._thread.start()

    def connect(self) -> None:
        """Make sure there is a connection; raise Unreachable."""
        self._run(self._connect(), CONNECT_TIMEOUT * 3)

    def publish(self, messages: Sequence[Message]) -> list[Outcome]:
        """Publish all at once, wait for the acks, and return what became of each; raise Unreachable."""
        return self._run(self._publish(messages), longest_batch())

    def close(self) -> None:
        """Close the connection and stop the loop."""
        self._run(self._shut_down(), CONNECT_TIMEOUT * 2)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, _T], timeout: float) -> _T:
        # The inner timeouts come first; this one only keeps a task from waiting for ever on a broken loop.
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        except TimeoutError as error:
            future.cancel()
            raise Unreachable("no answer in time") from error

    async def _connect(self) -> Client:
        async with self._connecting:
            if self._client is not None and self._client.is_connected:
                return self._client
            await self._disconnect()
            return await self._make_connection()

    async def _make_connection(self) -> Client:
        client = self._client = Client()
        try:
            # One attempt: whether to try again is the outbox's business. (`allow_reconnect=False` would not fail fast.)
            await asyncio.wait_for(
                client.connect(
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
        return client

    async def _disconnect(self) -> None:
        """Close the connection; one that cannot be closed now, as its server is frozen, goes on closing by itself."""
        if self._client is None:
            return
        closing = asyncio.create_task(self._client.close())
        self._client = None
        self._closing.add(closing)
        closing.add_done_callback(self._forget)
        await asyncio.wait([closing], timeout=CONNECT_TIMEOUT / 2)

    def _forget(self, closing: "asyncio.Task[None]") -> None:
        self._closing.discard(closing)
        if not closing.cancelled() and closing.exception() is not None:
            logger.debug("NATS: the connection closed with %r", closing.exception())

    async def _shut_down(self) -> None:
        await self._disconnect()
        rest = asyncio.all_tasks() - {cast("asyncio.Task[Any]", asyncio.current_task())}
        for task in rest:
            task.cancel()
        await asyncio.wait(rest, timeout=CONNECT_TIMEOUT / 2) if rest else None

    async def _publish(self, messages: Sequence[Message]) -> list[Outcome]:
        client = await self._connect()
        stream = client.jetstream()
        outcomes = await asyncio.gather(*(_publish_one(stream, client.max_payload, message) for message in messages))
        if not any(isinstance(outcome, Ack) for outcome in outcomes):
            async with self._connecting:
                if self._client is client:
                    await self._disconnect()  # a server that answers nothing may be frozen; another may not
        return list(outcomes)


async def _ignore(error: Exception) -> None:
    """What goes wrong on the connection shows in the outcome of each publish; nats-py would print a traceback."""
    logger.debug("NATS: %s", error)


async def _publish_one(stream: JetStreamContext, max_payload: int, message: Message) -> Outcome:
    payload = message.payload.encode()
    # The server counts the header too, and cuts the connection over what nats-py lets pass.
    if len(_header(message)) + len(payload) > max_payload:
        return Rejected(f"MaxPayloadError: larger than the {max_payload} bytes that NATS takes", is_permanent=True)
    try:
        # Not `publish_async`: nats-py 2.16 raises an error answer inside its own callback, and the future never ends.
        publish = stream.publish(
            message.subject, payload, timeout=ACK_TIMEOUT, headers={"Nats-Msg-Id": message.message_id}
        )
        ack = await asyncio.wait_for(publish, ACK_TIMEOUT)  # its own timeout does not cover a socket that is full
        return Ack(int(ack.seq), bool(ack.duplicate))
    except (nats.errors.MaxPayloadError, nats.errors.BadSubjectError) as error:
        return Rejected(_reason(error), is_permanent=True)
    except TimeoutError:
        return Rejected("no ack in time")
    except Exception as error:  # noqa: BLE001  (whatever answers, or breaks: it must not take the batch along)
        return Rejected(_reason(error))


def _header(message: Message) -> bytes:
    return f"NATS/1.0\r\nNats-Msg-Id: {message.message_id}\r\n\r\n".encode()


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
