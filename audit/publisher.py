"""Publishes to JetStream. It cannot touch streams.

One connection a process, on an event loop in a thread of its own, so that the server's pings are answered
while no task runs. Both are made by the first task, hence after the worker's fork.
"""

import asyncio
import logging
import os
import re
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

import nats.errors
from django.conf import settings
from nats.aio.msg import Msg

from audit import answers
from audit.answers import Ack, Outcome, Rejected
from audit.connection import NatsClient, reason_of
from audit.inbox import Inbox
from common.storable_text import storable

__all__ = ["Ack", "Message", "Outcome", "Publisher", "Rejected", "Unreachable", "connect", "publish"]

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 2  # seconds
ACK_TIMEOUT = 10.0  # seconds for a whole batch

_TRIED = 3  # servers of a cluster that do not answer, before it is given up for this time

_T = TypeVar("_T")
_NO_RESPONDERS = "503"  # the status of the answer that NATS gives when nobody takes a subject
# Neither may end a line of the protocol, nor make it longer than the server reads.
_SUBJECT = re.compile(r"[!-)+,/-=?-~-]+(\.[!-)+,/-=?-~-]+)*")
_MESSAGE_ID = re.compile(r"[!-~]+")
_LONGEST_NAME = 255
_FORBIDDEN = re.compile(r'permissions violation for publish to "([^"]+)"', re.IGNORECASE)
_HEADER = b"NATS/1.0\r\nNats-Msg-Id: \r\n\r\n"


class Unreachable(Exception):
    """There is no connection to NATS, and none can be made."""


@dataclass(frozen=True, slots=True)
class Message:
    subject: str
    payload: str
    message_id: str


def longest_batch() -> float:
    """Seconds that publishing a batch can take, connecting included."""
    return CONNECT_TIMEOUT * 6 + ACK_TIMEOUT


class Publisher:
    """A connection and the loop it lives on."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: NatsClient | None = None
        self._inbox = Inbox("")
        self._closing: set[asyncio.Task[None]] = set()
        self._connecting = asyncio.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="audit-publisher", daemon=True)
        self._thread.start()

    def connect(self) -> None:
        """Make sure there is a connection; raise Unreachable."""
        self._run(self._connect(), CONNECT_TIMEOUT * 5)

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

    async def _connect(self) -> NatsClient:
        async with self._connecting:
            if self._client is not None and self._client.is_connected:
                return self._client
            await self._disconnect()
            return await self._make_connection()

    async def _make_connection(self) -> NatsClient:
        client = self._client = NatsClient()
        inbox = self._inbox = Inbox(client.new_inbox())
        limit = CONNECT_TIMEOUT * (0.5 + min(self._url.count(",") + 1, _TRIED))
        try:
            # One attempt: whether to try again is the outbox's business.
            await asyncio.wait_for(
                client.connect_as_configured(
                    self._url,
                    name="artifact-cas",
                    connect_timeout=CONNECT_TIMEOUT,
                    pending_size=0,  # no buffer: what cannot be sent fails at once, rather than block
                    error_cb=partial(_note, inbox),
                    disconnected_cb=partial(_lose_answers, inbox),
                ),
                limit,
            )
            await client.subscribe(inbox.subject, cb=partial(_take_answer, inbox))
        except (nats.errors.Error, OSError, TimeoutError) as error:
            await self._disconnect()
            raise Unreachable(reason_of(error, limit)) from error
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
        client, inbox = await self._connect(), self._inbox
        with inbox.expect([message.subject for message in messages]) as batch:
            for message, reply in zip(messages, batch.replies, strict=True):
                if (refusal := await _send(client, message, reply)) is not None:
                    inbox.settle(reply, refusal)
            await batch.wait(ACK_TIMEOUT)
        if not any(batch.outcomes):
            async with self._connecting:
                if self._client is client:
                    await self._disconnect()  # a server that answers nothing may be frozen; another may not
        reason = f"no ack in time; NATS: {inbox.complaint}" if inbox.complaint else "no ack in time"
        unanswered = Rejected(reason, is_timeout=True)
        return [outcome or unanswered for outcome in batch.outcomes]


async def _take_answer(inbox: Inbox, message: Msg) -> None:
    if not message.data and (message.headers or {}).get("Status") == _NO_RESPONDERS:
        inbox.settle(message.subject, Rejected("no stream takes this subject"))
    else:
        inbox.settle(message.subject, answers.read(message.data))


async def _lose_answers(inbox: Inbox) -> None:
    inbox.settle_all(Rejected("the connection was lost before an ack came", is_timeout=True))


async def _note(inbox: Inbox, error: Exception) -> None:
    """Take a subject that may not be published to as its messages' answer, for no other comes; keep what else is said.

    nats-py puts what the server says into lower case.
    """
    if (refused := _FORBIDDEN.search(str(error))) is not None:
        inbox.settle_all(Rejected(_reason(error)), refused[1])
    else:
        inbox.complaint = _reason(error)
    logger.debug("NATS: %s", error)


async def _send(client: NatsClient, message: Message, reply: str) -> Rejected | None:
    """Hand a message to the connection, which does not wait; return why that cannot be done.

    Neither `publish` of nats-py's JetStream, whose two timers for each message cost more than all else, nor its
    `publish_async`, which in 2.16 raises an error answer in its own callback, so that the future never ends.
    """
    payload = message.payload.encode()
    if not _SUBJECT.fullmatch(message.subject) or len(message.subject) > _LONGEST_NAME:
        return Rejected(f"not a subject: {message.subject[:_LONGEST_NAME]!r}", is_permanent=True)
    if not _MESSAGE_ID.fullmatch(message.message_id) or len(message.message_id) > _LONGEST_NAME:
        return Rejected(f"not a message id: {message.message_id[:_LONGEST_NAME]!r}", is_permanent=True)
    # The server counts the header too, and cuts the connection over what nats-py lets pass.
    if len(_HEADER) + len(message.message_id) + len(payload) > client.max_payload:
        return Rejected(f"larger than the {client.max_payload} bytes that NATS takes", is_permanent=True)
    try:
        await client.publish(message.subject, payload, reply, {"Nats-Msg-Id": message.message_id})
    except (nats.errors.Error, OSError) as error:
        return Rejected(_reason(error))
    return None


def _reason(error: BaseException) -> str:
    return storable(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


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
