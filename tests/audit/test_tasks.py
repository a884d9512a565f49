"""The task, from rows to a real stream."""

import asyncio
import io
import json
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nats as nats_client
import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django import Settings

from audit import journal, metrics, nudge, outages, outbox, publisher, sealing, tasks
from audit.answers import Rejected
from audit.events import Action
from audit.models import AuditEvent, State
from audit.outages import Outage
from audit.tasks import publish_pending
from tests.factories import make_event, make_row
from tests.servers import NatsServer, free_port, wait_until

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _folder_of_its_own(
    own_publisher: None, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CAS_DATA_DIR = tmp_path
    monkeypatch.setattr(outbox._Refusal, "at", None)
    for name in ("_unreachable", "_no_database"):
        monkeypatch.setattr(tasks, name, Outage(tasks.logger))
    monkeypatch.setattr(sealing, "is_late", lambda: False)


def stream(since: int) -> list[dict[str, Any]]:
    out = io.StringIO()
    call_command("audit_stream", "read", since_sequence=since, stdout=out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_rows_are_published_in_order_and_marked(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "BATCH", 4)
    monkeypatch.setattr(outbox, "publish_pending", partial(outbox.publish_pending, seconds=60))
    for number in range(10):
        make_row(file_name=f"{number}.txt")
    publish_pending()
    rows = list(AuditEvent.objects.order_by("id"))
    assert {row.state for row in rows} == {"published"}
    first = rows[0].stream_sequence
    assert first is not None
    found = stream(first)
    assert [message["sequence"] for message in found] == [row.stream_sequence for row in rows]
    assert [message["id"] for message in found] == [str(row.event_id) for row in rows]
    assert [message["event"] for message in found] == [json.loads(row.payload) for row in rows]


def test_absent_nats_leaves_rows_as_they_are_until_it_comes(
    tmp_path: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.NATS_URL = "nats://127.0.0.1:1"
    row = make_row()
    publish_pending()
    untouched = AuditEvent.objects.get()
    assert (untouched.state, untouched.attempts, untouched.due_at) == ("pending", 0, row.due_at)
    assert "NATS is not reachable" in caplog.text


def test_nats_that_stays_away_is_told_now_and_then_and_when_it_is_back(
    nats: NatsServer, settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(url: str) -> list[str]:
        settings.NATS_URL = url
        monkeypatch.setattr(publisher, "_publisher", None)
        caplog.clear()
        publish_pending()
        return [record.getMessage().partition(":")[0] for record in caplog.records]

    there, away = settings.NATS_URL, "nats://127.0.0.1:1"
    beginning = ["NATS is not reachable, events wait in the outbox"]
    assert [told(away), told(away)] == [beginning, []]
    monkeypatch.setattr(outages, "REPEAT", 0)
    assert told(away) == beginning
    assert [told(there), told(there)] == [["NATS is reachable again"], []]
    monkeypatch.setattr(outages, "REPEAT", 60)
    assert told(away) == beginning


def unreachable() -> float:
    """How often there was no connection to NATS."""
    return metrics.UNREACHABLE.read()[()][0]


def test_each_attempt_without_nats_is_counted_whether_anything_is_due(settings: Settings) -> None:
    settings.NATS_URL = "nats://127.0.0.1:1"
    before = unreachable()
    publish_pending()
    make_row()
    publish_pending()
    assert unreachable() == before + 2
    with pytest.raises(CommandError, match="NATS is not reachable"):
        call_command("publish_events")
    assert unreachable() == before + 3


def test_server_that_goes_away_is_counted_and_one_that_is_there_is_not(server: NatsServer) -> None:
    before = unreachable()
    make_row()
    publish_pending()
    assert unreachable() == before
    server.stop()
    wait_until(lambda: not is_connected(), 10, "the connection is lost")
    make_row()
    publish_pending()
    assert unreachable() == before + 1


def is_connected() -> bool:
    assert publisher._publisher is not None
    client = publisher._publisher[1]._client
    return client is not None and client.is_connected


def test_rows_that_waited_for_nats_are_published_when_it_is_back(tmp_path: Path, settings: Settings) -> None:
    server = NatsServer(tmp_path / "nats")
    settings.NATS_URL = server.url
    server.start()
    try:
        call_command("audit_stream", "create", stdout=io.StringIO())
        make_row()
        publish_pending()
        server.stop()
        wait_until(lambda: not is_connected(), what="the publisher notices")
        waiting = make_row()
        publish_pending()
        waiting.refresh_from_db()
        assert (waiting.state, waiting.attempts) == ("pending", 0)
        server.start()
        publish_pending()
        waiting.refresh_from_db()
        assert (waiting.state, waiting.stream_sequence) == ("published", 2)
    finally:
        server.stop()


def test_without_nats_nothing_is_published(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.NATS_URL = ""
    monkeypatch.setattr(publisher, "connect", lambda: pytest.fail("it tried to connect"))
    make_row(State.LOCAL)
    publish_pending()
    assert AuditEvent.objects.get().state == "local"


def test_task_that_did_its_share_sends_for_another(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    nudges: list[None] = []
    monkeypatch.setattr(nudge, "wake", lambda: nudges.append(None))
    monkeypatch.setattr(outbox, "publish_pending", lambda: True)
    publish_pending()
    assert nudges == [None]


@pytest.mark.parametrize("is_late", [True, False])
@pytest.mark.parametrize("is_reachable", [True, False])
def test_task_seals_when_nobody_comes_to_it(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch, is_reachable: bool, is_late: bool
) -> None:
    def refuse() -> None:
        raise publisher.Unreachable

    monkeypatch.setattr(sealing, "is_late", lambda: is_late)
    if not is_reachable:
        monkeypatch.setattr(publisher, "connect", refuse)
    row = make_row()
    publish_pending()
    row.refresh_from_db()
    assert (row.state == State.PUBLISHED, row.position == 1) == (is_reachable, is_late)


def test_task_has_nothing_more_to_say_of_a_database_that_is_away_as_well(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> bool:
        raise OperationalError("the database went away")

    settings.NATS_URL = f"nats://127.0.0.1:{free_port()}"
    monkeypatch.setattr(sealing, "is_late", refuse)
    publish_pending()
    assert [record.exc_info for record in caplog.records] == [None, None]
    assert "the database went away" in caplog.messages[1]


def test_task_publishes_what_waited_in_the_journal(nats: NatsServer) -> None:
    journal.append(make_event())
    publish_pending()
    assert AuditEvent.objects.get().state == "published"


def test_backlog_larger_than_one_share_is_published_by_as_many_tasks_as_it_takes(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    nudges: list[None] = []
    monkeypatch.setattr(nudge, "wake", lambda: nudges.append(None))
    monkeypatch.setattr(outbox, "BATCH", 2)
    monkeypatch.setattr(outbox, "publish_pending", partial(outbox.publish_pending, seconds=0))
    for _ in range(5):
        make_row()
    for run in (1, 2):
        publish_pending()
        assert AuditEvent.objects.filter(state=State.PUBLISHED).count() == run * 2
        assert len(nudges) == run
    publish_pending()
    assert not AuditEvent.objects.exclude(state=State.PUBLISHED).exists()
    assert len(nudges) == 2


def test_event_whose_mark_was_lost_is_in_the_stream_once(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object) -> None:
        raise OperationalError("the database went away")

    row = make_row()
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "mark", fail)
        for _ in range(2):
            publish_pending()
            AuditEvent.objects.update(due_at=timezone.now())  # its lease is over
    assert [message for message in caplog.messages if "the database went away" in message] == [
        "The database lets no events be published, which wait in it: the database went away"
    ]
    AuditEvent.objects.update(due_at=timezone.now())  # its lease is over
    publish_pending()
    row.refresh_from_db()
    assert (row.state, row.attempts) == ("published", 1)
    assert row.stream_sequence is not None
    assert [message["id"] for message in stream(row.stream_sequence)] == [str(row.event_id)]


def test_stream_that_takes_nothing_is_left_alone_for_a_while(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    clock = SimpleNamespace(sleep=slept.append, monotonic=time.monotonic, perf_counter=time.perf_counter)
    monkeypatch.setattr(outbox, "time", clock)
    monkeypatch.setattr(outbox, "REST", 60.0)  # it is not over before the test has looked
    with monkeypatch.context() as patch:
        patch.setattr(publisher, "publish", lambda messages: [Rejected("full")] * len(messages))
        make_row()
        publish_pending()
    publish_pending()  # nothing is due
    assert len(slept) == 1
    assert 0 < slept[0] <= outbox.REST
    slept.clear()
    make_row()
    publish_pending()
    assert len(slept) == 1
    publish_pending()
    assert len(slept) == 1, "it takes events again"


def test_events_wait_for_a_stream_and_say_so(tmp_path: Path, settings: Settings) -> None:
    server = NatsServer(tmp_path / "nats")
    settings.NATS_URL = server.url
    server.start()
    try:
        row = make_row()
        publish_pending()
        row.refresh_from_db()
        assert (row.state, row.attempts) == ("pending", 1)
        assert "no stream takes this subject" in row.last_error
        call_command("audit_stream", "create", stdout=io.StringIO())
        AuditEvent.objects.update(due_at=timezone.now())
        publish_pending()
        row.refresh_from_db()
        assert (row.state, row.attempts, row.last_error, row.stream_sequence) == ("published", 2, "", 1)
    finally:
        server.stop()


def test_kinds_of_event_have_subjects_of_their_own(nats: NatsServer) -> None:
    rows = [make_row(), make_row(skipped=True), make_row(action=Action.DOWNLOADED)]
    publish_pending()
    rows[0].refresh_from_db()
    assert rows[0].stream_sequence is not None
    assert [message["subject"] for message in stream(rows[0].stream_sequence)] == [
        "audit.casartifact.casartifactuploaded",
        "audit.casartifact.casartifactuploaded",
        "audit.casartifact.casartifactdownloaded",
    ]


def test_payload_is_published_byte_for_byte(nats: NatsServer) -> None:
    row = make_row(file_name='ünï "quoted" <&>\u2028.txt')
    publish_pending()
    row.refresh_from_db()

    async def stored() -> bytes | None:
        async with await nats_client.connect(nats.url) as client:
            return (await client.jetstream().get_msg("chainloop-audit", row.stream_sequence)).data

    assert asyncio.run(stored()) == row.payload.encode()


def test_what_waits_in_the_journal_is_taken_in_where_nothing_is_published(settings: Settings) -> None:
    settings.NATS_URL = ""
    journal.append(make_event())
    publish_pending()
    assert AuditEvent.objects.get().state == "local"
    assert journal.pending() == []


def test_poison_ends_failed_with_its_reason_and_holds_up_no_other(nats: NatsServer) -> None:
    rows = [make_row() for _ in range(3)]
    with connection.cursor() as cursor:
        cursor.execute("UPDATE audit_auditevent SET subject = %s WHERE id = %s", ["a\r\nPUB x 0\r\n", rows[0].pk])
        cursor.execute("UPDATE audit_auditevent SET payload = %s WHERE id = %s", ["x" * 2_000_000, rows[1].pk])
    publish_pending()
    subject, size, good = AuditEvent.objects.order_by("id")
    assert (subject.state, size.state, good.state) == ("failed", "failed", "published")
    assert "not a subject" in subject.last_error
    assert "larger than" in size.last_error
    assert good.stream_sequence is not None
    assert [message["id"] for message in stream(good.stream_sequence)] == [str(good.event_id)]
