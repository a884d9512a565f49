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

from audit.management.commands import audit_stream as command
from audit.publisher import Message, Publisher
from tests.factories import ORGANIZATION, make_event
from tests.servers import NatsServer


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

    async def max_messages() -> int | None:
        async with await nats_client.connect(server.url) as client:
            return (await client.jetstream().stream_info("chainloop-audit")).config.max_msgs

    asyncio.run(make())
    assert "subjects audit.casartifact.>" in audit_stream("create")
    assert asyncio.run(max_messages()) == 7


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
    settings.NATS_URL = "nats://127.0.0.1:1"
    with pytest.raises(CommandError, match="NATS: "):
        audit_stream("create")


def test_frozen_nats_is_said_in_time(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "CONNECT_SECONDS", 0.3)
    server.freeze()
    try:
        with pytest.raises(CommandError, match=r"NATS: nats: the server did not answer in 0\.3 seconds"):
            audit_stream("info")
    finally:
        server.thaw()


@pytest.mark.parametrize("action", ["create", "info", "read"])
@pytest.mark.parametrize("name", ["", "two words", "with.dot", "*"])
def test_name_that_no_stream_can_have_is_said(server: NatsServer, action: str, name: str) -> None:
    with pytest.raises(CommandError, match="not a name that a stream"):
        audit_stream(action, "--stream", name)


def test_stream_of_others_that_has_the_subjects_is_said(server: NatsServer) -> None:
    audit_stream("create")
    with pytest.raises(CommandError, match="subjects overlap"):
        audit_stream("create", "--stream", "another")


def test_refused_password_is_said_without_it(tmp_path: Path, settings: Settings) -> None:
    guarded = NatsServer(tmp_path / "guarded", "--user", "cas", "--pass", "right-password")
    guarded.start()
    settings.NATS_URL = guarded.url.replace("//", "//cas:wrong-password@")
    try:
        with pytest.raises(CommandError, match=r"NATS: \w+") as raised:
            audit_stream("info")
    finally:
        guarded.stop()
    assert "password" not in str(raised.value)


@pytest.mark.parametrize("foreign", ["not json", "[]", "null", "{}", '{"Data":null}', '{"Data":{}}'])
def test_message_of_another_kind_is_shown_and_belongs_to_no_organization(server: NatsServer, foreign: str) -> None:
    audit_stream("create")
    publisher = Publisher(server.url)
    publisher.publish([Message("audit.other", foreign, "foreign")])
    publisher.close()
    publish(server, ORGANIZATION)
    lines = [json.loads(line) for line in audit_stream("read").splitlines()]
    assert [line["subject"] for line in lines] == ["audit.other", "audit.casartifact.casartifactuploaded"]
    ours = audit_stream("read", "--org", str(ORGANIZATION)).splitlines()
    assert [json.loads(line)["sequence"] for line in ours] == [2]


def test_read_prints_names_as_they_are_and_every_event_once(server: NatsServer) -> None:
    audit_stream("create")
    publisher = Publisher(server.url)
    event = make_event(file_name="ünï\u2028<1>.txt")
    publisher.publish([Message(event.subject, event.payload(), str(number)) for number in range(3000)])
    publisher.close()
    lines = [json.loads(line) for line in audit_stream("read").split("\n")[:-1]]
    assert [line["sequence"] for line in lines] == list(range(1, 3001))
    assert {line["event"]["Data"]["Info"]["file_name"] for line in lines} == {"ünï\u2028<1>.txt"}


def test_no_message_of_others_stops_read(server: NatsServer) -> None:
    audit_stream("create")
    publisher = Publisher(server.url)
    foreign = ['{"x":"\\ud800"}', "[" * 60_000, *("[" * depth + "]" * depth for depth in range(800, 1000))]
    publisher.publish([Message("audit.other", payload, str(number)) for number, payload in enumerate(foreign)])
    publisher.close()
    publish(server, ORGANIZATION)
    out = io.BytesIO()
    strict = io.TextIOWrapper(out, encoding="utf-8", write_through=True)  # as standard output is
    call_command("audit_stream", "read", stdout=strict)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["sequence"] for line in lines] == list(range(1, 204))
    assert [line["event"] for line in lines[:2]] == [{"x": "\ud800"}, foreign[1]]
