"""The operator's command."""

import asyncio
import io
import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import nats as nats_client
import pytest
from django.core.management import CommandError, call_command
from nats.js.api import StreamConfig
from pytest_django import Settings

from audit.publisher import Message, Publisher
from tests.factories import ORGANIZATION, make_event
from tests.servers import NatsServer, free_port


@pytest.fixture
def server(tmp_path: Path, settings: Settings) -> Iterator[NatsServer]:
    """A NATS of the test's own, without a stream, to which NATS_URL points."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    settings.NATS_URL = server.url
    yield server
    server.stop()


def audit_stream(*arguments: str) -> str:
    out = io.StringIO()
    call_command("audit_stream", *arguments, stdout=out)
    return out.getvalue()


def publish(server: NatsServer, *organizations: uuid.UUID) -> None:
    publisher = Publisher(server.url)
    events = [make_event(org_id=organization) for organization in organizations]
    publisher.publish([Message(event.subject, event.payload(), str(event.event_id)) for event in events])
    publisher.close()


def test_create_makes_the_stream_and_leaves_it_the_second_time(server: NatsServer) -> None:
    assert "Created stream chainloop-audit." in audit_stream("create")
    again = audit_stream("create")
    assert "Stream chainloop-audit exists." in again
    assert "subjects audit.>" in again


def test_create_does_not_touch_the_settings_of_its_owner(server: NatsServer) -> None:
    async def make() -> None:
        async with await nats_client.connect(server.url) as client:
            config = StreamConfig(name="chainloop-audit", subjects=["audit.casartifact.>"], max_msgs=7)
            await client.jetstream().add_stream(config)

    asyncio.run(make())
    assert "subjects audit.casartifact.>" in audit_stream("create")


def test_info_counts_messages(server: NatsServer) -> None:
    audit_stream("create")
    publish(server, ORGANIZATION, ORGANIZATION)
    assert "2 messages" in audit_stream("info")
    assert "last sequence 2" in audit_stream("info")


def test_read_prints_each_event_and_can_choose(server: NatsServer) -> None:
    audit_stream("create")
    other = uuid.uuid4()
    publish(server, ORGANIZATION, other, ORGANIZATION)
    lines = [json.loads(line) for line in audit_stream("read").splitlines()]
    assert [line["sequence"] for line in lines] == [1, 2, 3]
    assert lines[0]["subject"] == "audit.casartifact.casartifactuploaded"
    assert lines[0]["id"]
    assert lines[1]["event"]["Data"]["OrgID"] == str(other)
    assert [json.loads(line)["sequence"] for line in audit_stream("read", "--org", str(other)).splitlines()] == [2]
    since = audit_stream("read", "--since-sequence", "3").splitlines()
    assert [json.loads(line)["sequence"] for line in since] == [3]


def test_read_of_what_is_not_there_yet_prints_nothing(server: NatsServer) -> None:
    audit_stream("create")
    assert audit_stream("read") == ""
    assert audit_stream("read", "--since-sequence", "99") == ""


@pytest.mark.parametrize(("gone", "left"), [([1, 2, 3], []), ([3], [1, 2]), ([1], [2, 3])])
def test_read_ends_where_the_stream_does_though_its_last_are_gone(
    server: NatsServer, gone: list[int], left: list[int]
) -> None:
    async def remove() -> None:
        async with await nats_client.connect(server.url) as client:
            for sequence in gone:
                await client.jetstream().delete_msg("chainloop-audit", sequence)

    audit_stream("create")
    publish(server, ORGANIZATION, ORGANIZATION, ORGANIZATION)
    asyncio.run(remove())
    assert [json.loads(line)["sequence"] for line in audit_stream("read").splitlines()] == left
    assert audit_stream("read", "--since-sequence", "4") == ""


@pytest.mark.parametrize("action", ["info", "read"])
def test_missing_stream_is_said(server: NatsServer, action: str) -> None:
    with pytest.raises(CommandError, match=r"There is no stream chainloop-audit\."):
        audit_stream(action)


def test_unset_nats_is_said(settings: Settings) -> None:
    settings.NATS_URL = ""
    with pytest.raises(CommandError, match=r"NATS_URL is not set\."):
        audit_stream("create")


def test_absent_nats_is_said(settings: Settings) -> None:
    settings.NATS_URL = f"nats://127.0.0.1:{free_port()}"
    with pytest.raises(CommandError, match="NATS: "):
        audit_stream("create")
