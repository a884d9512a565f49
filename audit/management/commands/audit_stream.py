"""The operator's hand on the stream. Nothing in the server or the worker does any of this."""

import asyncio
import json
import re
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import AsyncIterator
from typing import Any

import nats
import nats.errors
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, DeliverPolicy, StorageType, StreamConfig, StreamInfo
from nats.js.errors import APIError, NotFoundError

SUBJECTS = ["audit.>"]
CONNECT_SECONDS = 5


def stream_name(text: str) -> str:
    """A name that a stream can have; raises ArgumentTypeError."""
    if re.fullmatch(r"[^\s.*>/\\]+", text) is None:
        raise ArgumentTypeError(f"{text!r} is not a stream name")
    return text


class Command(BaseCommand):
    help = "Create or show the audit stream, or print the events in it as JSON lines. Run by hand, by its owner."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=["create", "info", "read"])
        parser.add_argument("--stream", type=stream_name, default="chainloop-audit", help="(default: %(default)s)")
        parser.add_argument("--org", help="read: only the events of this organization")
        parser.add_argument("--since-sequence", type=int, default=1, help="read: from this stream sequence on")

    def handle(self, *, action: str, **options: Any) -> None:
        """Do it; fail with what NATS says."""
        if not settings.NATS_URL:
            raise CommandError("NATS_URL is not set.")
        try:
            asyncio.run(getattr(self, action)(**options))
        except NotFoundError as error:
            raise CommandError(f"There is no stream {options['stream']}.") from error
        except (nats.errors.Error, APIError, OSError, TimeoutError) as error:
            raise CommandError(f"NATS: {str(error) or type(error).__name__}") from error

    async def create(self, stream: str, **options: Any) -> None:
        """Create the stream; leave one that exists as it is, whatever its settings: they are its owner's."""
        async with await self._connect() as client:
            manager = client.jetstream()
            try:
                info = await manager.stream_info(stream)
                self.stdout.write(f"Stream {stream} exists.")
            except NotFoundError:
                config = StreamConfig(name=stream, subjects=SUBJECTS, storage=StorageType.FILE)
                info = await manager.add_stream(config)
                self.stdout.write(f"Created stream {stream}.")
            self._show(info)

    async def info(self, stream: str, **options: Any) -> None:
        """Show the stream."""
        async with await self._connect() as client:
            self._show(await client.jetstream().stream_info(stream))

    async def read(self, stream: str, org: str | None, since_sequence: int, **options: Any) -> None:
        """Print `{"sequence", "subject", "id", "event"}` a line, up to the last message there is now."""
        async with await self._connect() as client:
            async for line in _read(client, stream, since_sequence):
                if org is None or _organization(line["event"]) == org:
                    self.stdout.write(json.dumps(line, ensure_ascii=False))

    async def _connect(self) -> Client:
        return await nats.connect(
            settings.NATS_URL.split(","),
            connect_timeout=CONNECT_SECONDS,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            error_cb=_quiet,
        )

    def _show(self, info: StreamInfo) -> None:
        self.stdout.write(
            f"subjects {', '.join(info.config.subjects or [])}; {info.state.messages} messages, "
            f"{info.state.bytes} bytes, last sequence {info.state.last_seq}"
        )


def _event(data: bytes) -> Any:
    """The message's JSON; text when it is none, for a stream may carry what others publish."""
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")


def _organization(event: Any) -> str | None:
    data = event.get("Data") if isinstance(event, dict) else None
    return data.get("OrgID") if isinstance(data, dict) else None


async def _read(client: Client, stream: str, since_sequence: int) -> AsyncIterator[dict[str, Any]]:
    jetstream = client.jetstream()
    last = (await jetstream.stream_info(stream)).state.last_seq
    if since_sequence > last:
        return
    subscription = await jetstream.subscribe(
        ">", stream=stream, ordered_consumer=True, config=_starting_at(since_sequence)
    )
    consumer = await subscription.consumer_info()
    if not consumer.num_pending and not (consumer.delivered and consumer.delivered.consumer_seq):
        return  # all from there on were deleted
    while True:
        message = await subscription.next_msg(CONNECT_SECONDS)
        sequence = message.metadata.sequence.stream
        yield {
            "sequence": sequence,
            "subject": message.subject,
            "id": (message.headers or {}).get("Nats-Msg-Id", ""),
            "event": _event(message.data),
        }
        if sequence >= last or not message.metadata.num_pending:
            return


def _starting_at(sequence: int) -> ConsumerConfig:
    if sequence <= 1:
        return ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
    return ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=sequence)


async def _quiet(error: Exception) -> None:
    """The command's own error says it; nats-py would print a traceback."""
