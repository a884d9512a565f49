"""The operator's hand on the stream. Nothing in the server or the worker does any of this."""

import asyncio
import itertools
import json
from argparse import ArgumentParser
from typing import Any

import nats.errors
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from nats.js.api import StorageType, StreamConfig, StreamInfo
from nats.js.errors import APIError, NotFoundError

from audit import draining
from audit.connection import NatsClient, reason_of
from audit.consumer import Consumer, Received, StreamError
from audit.names import STREAM, stream_name

SUBJECTS = ["audit.>"]
CONNECT_SECONDS = 5  # for an answer of JetStream as well, by nats-py's default


class Command(BaseCommand):
    help = "Create or show the audit stream, or print the events in it as JSON lines. Run by hand, by its owner."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=["create", "info", "read"])
        parser.add_argument("--stream", type=stream_name, default=STREAM, help="(default: %(default)s)")
        parser.add_argument("--org", help="read: only the events of this organization")
        parser.add_argument("--since-sequence", type=int, default=1, help="read: from this stream sequence on")

    def handle(self, *, action: str, **options: Any) -> None:
        """Do it; fail with what NATS says."""
        if not settings.NATS_URL:
            raise CommandError("NATS_URL is not set.")
        try:
            if action == "read":
                self.read(**options)
            else:
                asyncio.run(getattr(self, action)(**options))
        except StreamError as error:
            raise CommandError(str(error)) from error
        except NotFoundError as error:
            raise CommandError(f"There is no stream {options['stream']}.") from error
        except (nats.errors.Error, APIError, OSError, TimeoutError) as error:
            raise CommandError(f"NATS: {reason_of(error, CONNECT_SECONDS)}") from error

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

    def read(self, stream: str, org: str | None, since_sequence: int, **options: Any) -> None:
        """Print `{"sequence", "subject", "id", "event"}` a line, up to the last message there is now."""
        with Consumer(stream, start=since_sequence) as consumer:
            for message in itertools.chain.from_iterable(draining.read_all(consumer)):
                event = _event(message.payload)
                if org is None or _organization(event) == org:
                    self.stdout.write(_line(message, event))

    async def _connect(self) -> NatsClient:
        client = NatsClient()
        await client.connect_as_configured(settings.NATS_URL, connect_timeout=CONNECT_SECONDS, error_cb=_quiet)
        return client

    def _show(self, info: StreamInfo) -> None:
        self.stdout.write(
            f"subjects {', '.join(info.config.subjects or [])}; {info.state.messages} messages, "
            f"{info.state.bytes} bytes, last sequence {info.state.last_seq}"
        )


def _event(data: bytes) -> Any:
    """The message's JSON; text when it is none, for a stream may carry what others publish."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data.decode(errors="replace")


def _line(message: Received, event: Any) -> str:
    line = {"sequence": message.sequence, "subject": message.subject, "id": message.message_id}
    try:
        return json.dumps({**line, "event": event})
    except RecursionError:  # one level deeper than what could just be read
        return json.dumps({**line, "event": message.payload.decode(errors="replace")})


def _organization(event: Any) -> str | None:
    data = event.get("Data") if isinstance(event, dict) else None
    return data.get("OrgID") if isinstance(data, dict) else None


async def _quiet(error: Exception) -> None:
    """The command's own error says it; nats-py would print a traceback."""
