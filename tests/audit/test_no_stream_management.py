"""The stream is somebody else's: the server and the worker publish, and read through a consumer of their own."""

import asyncio
import re
from pathlib import Path

import nats as nats_client
from django.conf import settings

from audit.answers import Ack, Rejected
from audit.publisher import Message, Publisher
from tests.servers import NatsServer

MANAGES_STREAMS = re.compile(
    r"\b(add|update|delete|purge)_(stream|msg)\b|\bstreams?_info\b|\bcreate_(key_value|object_store)\b"
    r"|STREAM\.(CREATE|UPDATE|DELETE|PURGE|MSG)"
)
MANAGES_CONSUMERS = re.compile(
    r"\b(add|update|delete|pause|resume)_consumer\b|\bpull_subscribe\b|\$JS\.API|CONSUMER\.(CREATE|DELETE)"
)
BY_HAND = Path("audit/management/commands/audit_stream.py")
READER = Path("audit/consumer.py")
PROBE = Path("audit/nats_probe.py")  # asks how the stream is
ADVICE = Path("casproject/doctor/nats.py")  # names a permission to people
PROJECT = Path(settings.BASE_DIR)


def sources_with(pattern: re.Pattern[str]) -> set[Path]:
    sources = [path for app in ("artifacts", "audit", "casproject") for path in (PROJECT / app).rglob("*.py")]
    return {path.relative_to(PROJECT) for path in sources if pattern.search(path.read_text())}


def test_no_code_of_server_or_worker_touches_a_stream() -> None:
    assert sources_with(MANAGES_STREAMS) == {BY_HAND, PROBE}
    looks = [found[0] for found in MANAGES_STREAMS.finditer((PROJECT / PROBE).read_text())]
    assert looks == ["stream_info"]


def test_a_consumer_is_made_by_the_reader_alone() -> None:
    assert sources_with(MANAGES_CONSUMERS) == {READER, ADVICE}


def test_publishing_where_there_is_no_stream_makes_none(tmp_path: Path) -> None:
    async def streams() -> list[object]:
        async with await nats_client.connect(server.url) as client:
            return list(await client.jetstream().streams_info())

    server = NatsServer(tmp_path / "nats")
    server.start()
    publisher = Publisher(server.url)
    try:
        (outcome,) = publisher.publish([Message("audit.casartifact.casartifactuploaded", "{}", "id")])
        assert isinstance(outcome, Rejected)
        assert asyncio.run(streams()) == []
    finally:
        publisher.close()
        server.stop()


MAY_ONLY_PUBLISH = """
authorization {
  users = [
    {user: owner, password: owner}
    {user: cas, password: cas, permissions: {publish: ["audit.>"], subscribe: ["_INBOX.>"]}}
  ]
}
"""


def test_permission_to_publish_is_all_that_is_needed(tmp_path: Path) -> None:
    async def make_stream() -> None:
        async with await nats_client.connect(server.url.replace("//", "//owner:owner@")) as client:
            await client.jetstream().add_stream(name="chainloop-audit", subjects=["audit.>"])

    config = tmp_path / "nats.conf"
    config.write_text(MAY_ONLY_PUBLISH)
    server = NatsServer(tmp_path / "nats", "-c", str(config))
    server.start()
    publisher = Publisher(server.url.replace("//", "//cas:cas@"))
    try:
        asyncio.run(make_stream())
        publisher.connect()
        outcomes = publisher.publish([Message("audit.casartifact.casartifactuploaded", "{}", "id")])
        assert outcomes == [Ack(1)]
    finally:
        publisher.close()
        server.stop()
