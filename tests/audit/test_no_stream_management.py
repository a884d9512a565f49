"""The stream is somebody else's: the server and the worker only publish."""

import asyncio
import re
from pathlib import Path

import nats as nats_client
from django.conf import settings

from audit.publisher import Message, Publisher, Rejected
from tests.servers import NatsServer

MANAGES = re.compile(r"\b(add|update|delete|purge)_(stream|consumer)\b|\bstream_info\(|\$JS\.API")
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
