"""The stream is somebody else's: the server and the worker only publish."""

import asyncio
import re
from pathlib import Path

import nats as nats_client
from django.conf import settings

from audit.publisher import Ack, Message, Publisher, Rejected
from tests.servers import NatsServer

MANAGES = re.compile(
    r"\b(add|update|delete|purge)_(stream|consumer|msg)\b|\bstreams?_info\b|\bcreate_(key_value|object_store)\b"
    r"|\bpull_subscribe\b|\$JS\.API|STREAM\.(CREATE|UPDATE|DELETE|PURGE)"
)
ALLOWED = {Path("audit/management/commands/audit_stream.py")}


def test_no_code_of_server_or_worker_touches_a_stream() -> None:
    project = Path(settings.BASE_DIR)
    sources = [path for app in ("artifacts", "audit", "casproject") for path in (project / app).rglob("*.py")]
    touching = {path.relative_to(project) for path in sources if MANAGES.search(path.read_text())}
    assert touching == ALLOWED


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
