"""Reads a stream through a pull consumer: for commands and the mirror. It cannot touch the stream itself.

A message stays the stream's until it is acked, and comes again when it is not: whoever reads must apply it once,
and ack it after that. What NATS does is bounded in time; what the reader does between two calls should take less
than ACK_WAIT.
"""

import asyncio
import json
import uuid
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self, TypeVar, cast

import nats.errors
from django.conf import settings
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy
from nats.js.errors import APIError, NotFoundError

from audit.connection import NatsClient, reason_of
from audit.names import STREAM

BATCH = 256
BATCH_BYTES = 16 * 1024 * 1024  # of one batch; one message may be larger
ACK_WAIT = 30.0  # seconds after which a message that was not acked comes again, from a consumer that is made here
CONNECT_TIMEOUT = 2  # seconds
ANSWER_TIMEOUT = 5.0  # seconds

_SILENCE = 1.0  # seconds without a message or the end of a pull
_NO_CONSUMER = 10014  # https://github.com/nats-io/nats-server/blob/main/server/errors.json
_NO_RESPONDERS = "503"
_ENDS_A_PULL = {"404", "408"}  # all that is there was sent, or nothing came in time (ADR-13)
_WOULD_BE_TOO_MUCH = "message size exceeds maxbytes"  # the next message would be beyond the bytes that were asked for
_EVERYTHING = {"", ">", "audit.>"}  # what a consumer of all audit events may be filtered by
_T = TypeVar("_T")


class StreamError(Exception):
    """The stream cannot be read; the text says why, for whoever operates it."""


class Unreachable(StreamError):
    """NATS is away or does not answer: it may be back soon."""


class Refused(StreamError):
    """There is no such stream or consumer, or no permission: somebody has to do something."""


@dataclass(frozen=True, slots=True)
class Received:
    """One message of the stream. `message_id` is its Nats-Msg-Id, or ""."""

    sequence: int
    time: datetime  # when the stream took it
    subject: str
    message_id: str
    payload: bytes
    consumer_sequence: int  # grows with each delivery
    ack_subject: str
    deliveries: int = 1  # of this message by this consumer, this one included

    @property
    def key(self) -> str:
        """What it is known by: the same for the doubles of a message that has an id."""
        return self.message_id or f"#{self.sequence}@{self.time.isoformat()}"


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a consumer is."""

    created: str
    waiting: int  # not yet delivered
    unacked: int  # delivered, not acked
    acked: int  # the consumer sequence up to which all is acked
    delivered_sequence: int  # the stream sequence up to which all was delivered, or is gone
    ack_wait: float  # seconds after which an unacked message comes again


class Consumer:
    """A connection, for the `with` block, and a consumer: an existing one, or one that is made.

    With a name it is durable; without, it starts at `start` and lasts no longer than the connection.
    Every method raises Unreachable or Refused.
    """

    def __init__(self, stream: str = STREAM, name: str = "", *, start: int = 1) -> None:
        self._stream = stream
        self._name = name
        self._start = start
        self._runner = asyncio.Runner()
        self._link: _Link | None = None

    def __enter__(self) -> Self:
        try:
            self.connect()
        except BaseException:
            self._runner.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._disconnect()
        self._runner.close()

    def connect(self) -> None:
        """Connect anew, after Unreachable; a consumer without a name starts over."""
        if not settings.NATS_URL:
            raise Refused("NATS_URL is not set.")
        self._disconnect()
        link = _Link(self._stream, self._name, self._start)
        self._link = link
        try:
            self._runner.run(link.open())
        except BaseException:
            self._disconnect()
            raise

    def read(self, wait: float = 0.0) -> list[Received]:
        """Up to BATCH messages that are there; none when none comes within `wait` seconds."""
        return self._run(self._open.read(wait))

    def ack(self, messages: Sequence[Received]) -> None:
        """Tell the stream that these are done; returns when it was told."""
        self._run(self._open.ack(messages))

    def standing(self) -> Standing:
        """How far it is."""
        info = self._run(self._open.info())
        return Standing(
            created=info.created.isoformat(),
            waiting=info.num_pending or 0,
            unacked=info.num_ack_pending or 0,
            acked=info.ack_floor.consumer_seq if info.ack_floor else 0,
            delivered_sequence=info.delivered.stream_seq if info.delivered else 0,
            ack_wait=info.config.ack_wait or ACK_WAIT,
        )

    @property
    def created(self) -> str:
        """When the consumer was made: tells it from an earlier one of its name."""
        return self._open.created

    def restart(self) -> None:
        """Make the durable consumer anew, at the stream's first message."""
        self._run(self._open.make_anew())

    @property
    def _open(self) -> "_Link":
        if self._link is None:
            raise Unreachable("NATS: not connected.")
        return self._link

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self._runner.run(work)

    def _disconnect(self) -> None:
        if self._link is not None:
            self._runner.run(self._link.close())
            self._link = None


class _Client(NatsClient):
    """Messages of others may hold anything; what nats-py 2.16 cannot decode ends its read loop without a word."""

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (ValueError, IndexError):
            return self._parse_header_lines(headers.partition(b"\r\n")[2])

    def _build_message(self, sid: int, subject: bytes, *rest: Any) -> Msg:
        return cast(Msg, super()._build_message(sid, subject.decode(errors="replace").encode(), *rest))


class _Link:
    """The asyncio side of a Consumer: one connection, over which it ends when that breaks."""

    def __init__(self, stream: str, name: str, start: int) -> None:
        self._stream = stream
        self._name = name or f"artifact-cas-{uuid.uuid4().hex}"
        self._is_durable = bool(name)
        self._start = start
        self._client = _Client()
        self._messages: asyncio.Queue[Msg] = asyncio.Queue()
        self._pulls = 0
        self._limit = BATCH
        self._is_next_too_large = False
        self.created = ""

    async def open(self) -> None:
        self._broken: asyncio.Future[StreamError] = asyncio.get_running_loop().create_future()
        try:
            # One attempt, and no other connection behind our back: a pull would be lost with the one it was sent over.
            await asyncio.wait_for(
                self._client.connect_as_configured(
                    settings.NATS_URL,
                    name="artifact-cas-consumer",
                    connect_timeout=CONNECT_TIMEOUT,
                    error_cb=self._went_wrong,
                    disconnected_cb=self._is_gone,
                    closed_cb=self._is_gone,
                ),
                CONNECT_TIMEOUT * 3,
            )
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise Unreachable(f"NATS: {reason_of(error, CONNECT_TIMEOUT * 3)}") from error
        self._inbox = self._client.new_inbox()
        await self._client.subscribe(f"{self._inbox}.*", cb=self._messages.put)
        await self._find_consumer()

    async def close(self) -> None:
        closing = asyncio.ensure_future(self._client.close())
        await asyncio.wait([closing], timeout=CONNECT_TIMEOUT)
        if closing.done() and not closing.cancelled():
            closing.exception()  # nothing more is wanted of it

    async def info(self) -> ConsumerInfo:
        return await self._ask(self._client.jetstream().consumer_info(self._stream, self._name))

    async def make_anew(self) -> None:
        await self._ask(self._client.jetstream().delete_consumer(self._stream, self._name))
        await self._find_consumer()

    async def read(self, wait: float) -> list[Received]:
        messages = await self._pull({"batch": self._limit, "max_bytes": BATCH_BYTES, "no_wait": True})
        if not messages and self._is_next_too_large:
            messages = await self._pull({"batch": 1, "no_wait": True})
        if not messages and wait:
            # For one alone, so that it ends with the first; what came with that is there to be read without waiting.
            messages = await self._pull({"batch": 1, "expires": int(wait * 1e9)}, wait)
        return messages

    async def ack(self, messages: Sequence[Received]) -> None:
        try:
            for message in messages:
                await self._client.publish(message.ack_subject)
        except (nats.errors.Error, OSError) as error:
            raise Unreachable(f"NATS: {str(error) or type(error).__name__}") from error
        await self._ask(self._client.flush())

    async def _find_consumer(self) -> None:
        try:
            info = await self.info() if self._is_durable else await self._make_consumer()
        except _NoConsumer:
            info = await self._make_consumer()
        self.created, config = info.created.isoformat(), info.config
        if config.deliver_subject or (self._is_durable and config.ack_policy != AckPolicy.EXPLICIT):
            raise Refused(
                f"The consumer {self._name} of stream {self._stream} is not one to pull from with explicit acks."
            )
        if self._is_durable and (lack := _lack_of(config)):
            raise Refused(f"The consumer {self._name} of stream {self._stream} {lack}, and would leave events out.")
        if config.max_ack_pending and config.max_ack_pending > 0:
            self._limit = min(BATCH, config.max_ack_pending)

    async def _make_consumer(self) -> ConsumerInfo:
        if self._is_durable:
            config = ConsumerConfig(
                name=self._name, durable_name=self._name, ack_policy=AckPolicy.EXPLICIT, ack_wait=ACK_WAIT
            )
        else:
            config = ConsumerConfig(
                name=self._name,
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=max(1, self._start),
                ack_policy=AckPolicy.NONE,
                inactive_threshold=60,
                mem_storage=True,
            )
        return await self._ask(self._client.jetstream().add_consumer(self._stream, config))

    async def _pull(self, request: dict[str, Any], wait: float = 0.0) -> list[Received]:
        """Ask for messages (`$JS.API.CONSUMER.MSG.NEXT`), and take them until the server says that this was all.

        Not nats-py's `fetch`, which takes the errors of a consumer for a lack of messages.
        """
        self._pulls += 1
        self._is_next_too_large = False
        reply = f"{self._inbox}.{self._pulls}"
        try:
            await self._client.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}", json.dumps(request).encode(), reply
            )
        except (nats.errors.Error, OSError) as error:
            raise Unreachable(f"NATS: {str(error) or type(error).__name__}") from error
        received: list[Received] = []
        while len(received) < request["batch"]:
            try:
                message = await self._next(wait + _SILENCE)
            except _Silent:
                # Others may have as many unacked messages as the consumer allows: then this pull is answered later,
                # and whoever reads next gets what comes of it. Or NATS is frozen, which this raises.
                await self.info()
                if self._messages.empty():
                    break
                continue
            if message.reply.startswith("$JS.ACK."):
                received.append(_received(message))
            elif message.subject == reply:
                await self._heed(message)
                break
        return received

    async def _next(self, seconds: float) -> Msg:
        if not self._messages.empty():
            return self._messages.get_nowait()
        return await self._unless_broken(self._messages.get(), seconds)

    async def _heed(self, status: Msg) -> None:
        """Raise what the end of a pull means, unless it only means that there is no more."""
        headers = status.headers or {}
        code, description = headers.get("Status", ""), headers.get("Description", "")
        if code in _ENDS_A_PULL:
            return
        if description.lower() == _WOULD_BE_TOO_MUCH:
            self._is_next_too_large = True
            return
        if code == _NO_RESPONDERS or "deleted" in description.lower():
            await self.info()  # says what is missing, if it is
            raise Unreachable(f"NATS: stream {self._stream} does not answer.")
        if "exceeded" not in description.lower():
            raise Unreachable(f"NATS: {description or code}")
        raise Refused(f"NATS: {description}")

    async def _ask(self, question: Coroutine[Any, Any, _T]) -> _T:
        try:
            return await self._unless_broken(question, ANSWER_TIMEOUT + 1)
        except NotFoundError as error:
            if error.err_code == _NO_CONSUMER:
                raise _NoConsumer(f"There is no consumer {self._name} of stream {self._stream}.") from error
            raise Refused(f"There is no stream {self._stream}.") from error
        except APIError as error:
            kind = Unreachable if error.code is None or error.code >= 500 else Refused  # noqa: PLR2004
            raise kind(f"NATS: {error.description or 'JetStream does not answer.'}") from error
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise Unreachable(f"NATS: {reason_of(error, ANSWER_TIMEOUT)}") from error

    async def _unless_broken(self, work: Coroutine[Any, Any, _T], seconds: float) -> _T:
        task = asyncio.ensure_future(work)
        either: list[asyncio.Future[Any]] = [task, self._broken]
        await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        task.cancel()
        if self._broken.done():
            raise self._broken.result()
        raise _Silent("NATS does not answer.")

    async def _went_wrong(self, error: Exception) -> None:
        # A request that is not permitted gets no other answer.
        if "permissions violation" in str(error).lower():
            self._break(Refused(f"NATS: {str(error).removeprefix('nats: ')}. docs/consumer.md says what is needed."))

    async def _is_gone(self) -> None:
        self._break(Unreachable("NATS: the connection is lost."))

    def _break(self, error: StreamError) -> None:
        if not self._broken.done():
            self._broken.set_result(error)


class _Silent(Unreachable):
    """No answer in time."""


class _NoConsumer(Refused):
    """There is a stream, and no consumer of this name."""


def _lack_of(config: ConsumerConfig) -> str:
    """What keeps messages from whoever reads by it, or ""."""
    if config.headers_only:
        return "delivers no payloads"
    if config.deliver_policy != DeliverPolicy.ALL:
        return "does not begin with the stream's first message (--deliver all)"
    if config.max_deliver and config.max_deliver > 0:
        return "gives up messages that are not acked (--max-deliver=-1)"
    if not {config.filter_subject or "", *(config.filter_subjects or [])} <= _EVERYTHING:
        return "has a filter"
    return ""


def _received(message: Msg) -> Received:
    metadata = message.metadata
    return Received(
        sequence=metadata.sequence.stream,
        time=metadata.timestamp,
        subject=message.subject,
        message_id=(message.headers or {}).get("Nats-Msg-Id", ""),
        payload=message.data,
        consumer_sequence=metadata.sequence.consumer,
        ack_subject=message.reply,
        deliveries=metadata.num_delivered,
    )
