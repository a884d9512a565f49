"""What others published, taken into the trail."""

import io
import json
import os
import signal
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, OperationalError, connection, connections
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from audit import outbox, tasks
from audit.consumer import Consumer, Received
from audit.events import Action
from audit.management.commands import mirror_stream as mirror_command
from audit.mirror import Mirror, bytes_of, event_id_of, text_of
from audit.models import AuditEvent, Granularity, State, UsageTotal
from tests.audit.streams import STREAM, publish, publish_events, publish_raw, raw, with_stream
from tests.audit.test_consume_usage import malformed, payloads, with_data
from tests.audit.trails import checkpoint_now, days_later, give_free_ids, give_taken_ids, remove, seal_all
from tests.factories import ORGANIZATION, make_event, make_row
from tests.servers import NatsServer, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _mirror(own_publisher: None, prompt_redelivery: None, settings: Settings) -> None:
    settings.CAS_MIRROR = True


def mirror_stream(*arguments: str) -> str:
    out = io.StringIO()
    call_command("mirror_stream", *arguments, stdout=out)
    return out.getvalue().strip()


def message(payload: bytes, message_id: str = "", **values: Any) -> Received:
    now = datetime.now(UTC)
    return Received(
        **{
            "sequence": 1,
            "time": now,
            "subject": "audit.other",
            "message_id": message_id,
            "payload": payload,
            "consumer_sequence": 1,
            "ack_subject": "",
            **values,
        }
    )


def test_event_of_another_data_plane_is_taken_in_with_all_its_values(server: NatsServer) -> None:
    event = make_event(size_bytes=5, skipped=True, file_name="ünï.json", backend="AWS-S3")
    publish_events(server.url, event)
    assert mirror_stream() == "1 taken in, 0 known already."
    row = AuditEvent.objects.get()
    assert (row.event_id, row.occurred_at, row.action) == (event.event_id, event.occurred_at, event.action)
    assert (row.org_id, row.digest, row.size_bytes) == (ORGANIZATION, event.digest, 5)
    assert (row.file_name, row.backend, row.skipped) == ("ünï.json", "AWS-S3", True)
    assert (row.state, row.subject, row.stream_sequence) == (State.MIRRORED, event.subject, 1)
    assert row.payload == event.payload()
    assert row.published_at is not None
    assert abs(row.published_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_events_of_our_own_stay_as_they_are(server: NatsServer) -> None:
    rows = [make_row(), make_row(State.LOCAL)]
    assert not outbox.publish_pending()
    publish_events(server.url, make_event(event_id=rows[1].event_id, size_bytes=99))
    before = list(AuditEvent.objects.order_by("id").values())
    assert before[0]["state"] == State.PUBLISHED
    assert mirror_stream() == "0 taken in, 2 known already."
    assert list(AuditEvent.objects.order_by("id").values()) == before


def test_control_planes_event_is_kept_whole(server: NatsServer) -> None:
    payload = json.dumps(
        {
            "EventType": "AUDIT_EVENT",
            "Timestamp": "2026-11-24T08:36:30.293463461+01:00",
            "Data": {"ActionType": "OrganizationCreated", "OrgID": str(ORGANIZATION), "Info": {"name": "acme"}},
        }
    )
    publish(server.url, payload.encode(), "audit.organization.organizationcreated", "no uuid")
    mirror_stream()
    row = AuditEvent.objects.get()
    assert row.payload == payload
    assert (row.action, row.org_id, row.digest) == ("OrganizationCreated", ORGANIZATION, "")
    assert row.occurred_at == datetime(2026, 11, 24, 7, 36, 30, 293463, UTC)
    assert row.subject == "audit.organization.organizationcreated"


def test_each_message_is_taken_in_once_however_often_it_comes(server: NatsServer) -> None:
    event = make_event()
    publish_events(server.url, event)
    publish(server.url, b"named", message_id="no uuid")
    publish(server.url, b"nameless", message_id=None)
    publish(server.url, b"nameless", message_id=None)
    assert mirror_stream() == "4 taken in, 0 known already."
    assert mirror_stream("--consumer", "another") == "0 taken in, 4 known already."
    time_of_first = AuditEvent.objects.get(event_id=event.event_id).published_at
    publish_events(server.url, event)  # a double, or its duplicate window has not passed
    assert mirror_stream().startswith("0 taken in")
    assert AuditEvent.objects.count() == 4
    assert AuditEvent.objects.get(event_id=event.event_id).published_at == time_of_first


def test_doubles_in_one_batch_are_taken_in_once_the_first_as_it_was() -> None:
    mirror = Mirror()
    mirror.take_in([message(b"first", "x"), message(b"second", "x", sequence=2), message(b"other", "y", sequence=3)])
    assert str(mirror) == "2 taken in, 1 known already"
    assert list(AuditEvent.objects.order_by("id").values_list("payload", flat=True)) == ["first", "other"]


def test_what_was_taken_in_is_never_published(server: NatsServer) -> None:
    publish_events(server.url, make_event())
    publish(server.url, b"anything")
    mirror_stream()
    AuditEvent.objects.update(due_at=datetime.now(UTC) - timedelta(days=1))
    assert outbox.claim(10) == []
    assert not outbox.publish_pending()
    assert with_stream(server.url, lambda stream: stream.stream_info(STREAM)).state.last_seq == 2
    assert set(AuditEvent.objects.values_list("state", flat=True)) == {State.MIRRORED}


def test_killed_between_commit_and_ack_takes_in_once(server: NatsServer) -> None:
    publish(server.url, b"anything")
    with Consumer(name="artifact-cas-mirror") as killed:
        Mirror().take_in(killed.read())
    assert mirror_stream() == "0 taken in, 1 known already."
    assert AuditEvent.objects.count() == 1


def test_events_that_retention_removed_do_not_come_back(server: NatsServer, settings: Settings) -> None:
    settings.AUDIT_RETENTION_DAYS = 10
    day = 86400 * 10**9
    publish_events(
        server.url,
        make_event(timestamp_ns=time.time_ns() - 11 * day),
        make_event(timestamp_ns=time.time_ns() - 9 * day),
    )
    assert mirror_stream() == "1 taken in, 0 known already, 1 older than what retention keeps."
    late = make_event(timestamp_ns=time.time_ns() + 90 * day)
    old = message(late.payload().encode(), time=datetime.now(UTC) - timedelta(days=11))
    mirror = Mirror()
    mirror.take_in([old])
    assert mirror.too_old == 1


@pytest.mark.parametrize("days", [0, 30])
def test_clock_that_was_ahead_when_events_were_removed_keeps_no_other_out(
    days: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.AUDIT_RETENTION_DAYS = days
    own = make_row(State.PUBLISHED)
    seal_all()
    checkpoint_now()
    with monkeypatch.context() as ahead:
        days_later(ahead, 365)
        assert remove(30) == 1
    mirror = Mirror()
    mirror.take_in([message(own.payload.encode(), str(own.event_id)), message(make_event().payload().encode())])
    assert (mirror.taken_in, mirror.too_old) == (1, 1)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0",
        b"\xff\xfe",
        "ünï\u2028".encode(),
        b'{"a":"\\u0000\\ud800"}',
        b"\xed\xa0\x80",
        b"\r\n\r",
        b"[" * 10**5,
    ],
)
def test_payload_is_kept_losslessly(server: NatsServer, payload: bytes) -> None:
    publish(server.url, payload)
    mirror_stream()
    assert bytes_of(AuditEvent.objects.get().payload) == payload


def test_text_that_looks_encoded_is_encoded_too() -> None:
    encoded = text_of(b"\xff")
    assert encoded == "data:application/octet-stream;base64,/w=="
    assert text_of(encoded.encode()) != encoded
    assert bytes_of(text_of(encoded.encode())) == encoded.encode()


def test_usage_counts_what_a_consumer_counts(server: NatsServer) -> None:
    for payload in [*malformed(), make_event(size_bytes=5).payload().encode()]:
        publish(server.url, payload)
    publish(server.url, with_data(ActionType="OrgCreated", Info={"size_bytes": "many"}))
    mirror_stream()
    assert AuditEvent.objects.exclude(org_id=None).count() == 2
    seal_all()
    totals = UsageTotal.objects.filter(granularity=Granularity.DAY)
    assert [(total.org_id, total.transfers, total.bytes) for total in totals] == [(ORGANIZATION, 1, 5)]


def test_values_that_do_not_fit_are_cut_in_their_columns_alone(server: NatsServer) -> None:
    event = json.loads(make_event().payload())
    event["Data"]["ActionType"] = "A" * 1000
    event["Data"]["Info"] |= {"file_name": "ü" * 1000 + "\0", "backend_type": "\ud800" * 1000, "size_bytes": 2**70}
    payload = json.dumps(event)
    publish(server.url, payload.encode(), "audit." + "s" * 300)
    mirror_stream()
    row = AuditEvent.objects.get()
    assert row.payload == payload
    assert (row.action, row.file_name, row.backend) == ("A" * 100, "ü" * 255, "\ufffd" * 50)
    assert (row.size_bytes, len(row.subject)) == (0, 255)


def test_hostile_messages_are_taken_in(server: NatsServer) -> None:
    publish_raw(
        server.url,
        raw(b"NATS/1.0 409 Consumer Deleted\r\n\r\n", b"one"),
        raw(b"NATS/1.0\r\nNats-Msg-Id: \xff\0\r\n\r\n", b"two"),
        raw(b"NATS/1.0", b"three"),
        raw(b"NATS/1.0\r\n\r\n", b"four", b"audit.\xff\x01"),
    )
    assert mirror_stream() == "4 taken in, 0 known already."


@given(payload=payloads, message_id=st.text(), subject=st.text(min_size=1))
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_any_message_is_kept_whole(payload: bytes, message_id: str, subject: str) -> None:
    received = message(payload, message_id, subject=subject.encode(errors="replace").decode())
    stream = uuid.uuid4().hex  # the rows of earlier examples are still there
    Mirror(stream).take_in([received])
    assert bytes_of(AuditEvent.objects.get(event_id=event_id_of(received, stream)).payload) == payload


def test_id_is_the_messages_own_uuid_or_made_of_stream_and_id_or_place() -> None:
    given_id = str(uuid.uuid4())
    now = datetime.now(UTC)
    ids = [
        event_id_of(message(b"", message_id, sequence=sequence, time=time), stream)
        for message_id, sequence, time, stream in (
            (given_id, 1, now, STREAM),
            ("other", 1, now, STREAM),
            ("other", 1, now, "another"),
            ("", 1, now, STREAM),
            ("", 2, now, STREAM),
            ("", 1, now + timedelta(seconds=1), STREAM),
        )
    ]
    assert ids[0] == uuid.UUID(given_id)
    assert len(set(ids)) == len(ids)
    assert event_id_of(message(b"", "other", sequence=9), STREAM) == ids[1]


def test_transaction_holds_all_of_a_batch_or_nothing(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(server.url, b"anything")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_auditevent RENAME TO elsewhere")
    try:
        with pytest.raises(CommandError, match="The database does not take it"):
            mirror_stream()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere RENAME TO audit_auditevent")
    assert mirror_stream() == "1 taken in, 0 known already."


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite gives no id that is taken")
def test_message_that_gets_a_taken_id_is_not_told_as_taken_in() -> None:
    make_row()
    give_taken_ids()
    mirror = Mirror()
    with pytest.raises(IntegrityError):
        mirror.take_in([message(b"anything")])
    assert mirror.taken_in == 0
    give_free_ids()
    mirror.take_in([message(b"anything")])
    assert (mirror.taken_in, AuditEvent.objects.count()) == (1, 2)


def test_task_takes_in_what_is_new(server: NatsServer) -> None:
    publish(server.url, b"one")
    tasks.mirror_stream()
    publish(server.url, b"two")

    def is_taken_in() -> bool:  # a consumer hears of it after the stream has it
        tasks.mirror_stream()
        return AuditEvent.objects.count() == 2

    wait_until(is_taken_in, what="the second is taken in")


def test_tasks_at_once_take_in_each_message_once(server: NatsServer) -> None:
    def work() -> None:
        try:
            tasks.mirror_stream()
        finally:
            connections.close_all()

    publish_raw(server.url, *(b"PUB audit.x 1\r\nx\r\n" for _ in range(1000)))
    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(work) for _ in range(3)]:
            done.result()
    assert AuditEvent.objects.count() == 1000


def test_task_is_off_unless_it_is_switched_on(server: NatsServer, settings: Settings) -> None:
    settings.CAS_MIRROR = False
    publish(server.url, b"one")
    tasks.mirror_stream()
    assert not AuditEvent.objects.exists()


def test_task_says_in_the_log_that_nats_is_away(server: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    server.stop()
    tasks.mirror_stream()
    assert "The stream could not be mirrored: NATS: " in caplog.text


def take_nothing_at_first(monkeypatch: pytest.MonkeyPatch, then: Callable[[], None] = lambda: None) -> None:
    take_in, errors = Mirror.take_in, [OperationalError("the database is away")] * 2

    def take_in_later(mirror: Mirror, messages: Sequence[Received]) -> None:
        if errors:
            raise errors.pop()
        take_in(mirror, messages)
        then()

    monkeypatch.setattr(Mirror, "take_in", take_in_later)


def test_task_says_in_the_log_that_the_database_is_away(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publish(server.url, b"one")
    take_nothing_at_first(monkeypatch)

    def is_taken_in() -> bool:  # when it comes again
        tasks.mirror_stream()
        return AuditEvent.objects.count() == 1

    wait_until(is_taken_in)
    assert caplog.text.count("The database takes nothing of the stream, which keeps it: the database is away") == 1
    assert "The database takes what the stream has again" in caplog.text


def test_who_follows_waits_for_the_database(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mirror_command, "PAUSE", 0.01)
    publish(server.url, b"one")
    take_nothing_at_first(monkeypatch, then=lambda: os.kill(os.getpid(), signal.SIGINT))
    assert mirror_stream("--follow") == "1 taken in, 0 known already."
    assert "The database takes what the stream has again" in caplog.text


def test_admin_shows_what_others_published(server: NatsServer, admin_client: Client) -> None:
    publish(server.url, b'{"EventType":"AUDIT_EVENT","Data":{"ActionType":"OrgCreated","Info":{"a":"\\ud800\\u0000"}}}')
    publish(server.url, with_data(ActionType="<b>\u202egnp.exe"))
    publish(server.url, b"\xff\0", "audit.unknown.kind")
    publish(server.url, b"[" * 100_000, "audit.deep")
    publish_events(server.url, make_event(action=Action.DOWNLOADED))
    mirror_stream()
    page = admin_client.get("/admin/audit/auditevent/")
    text = page.content.decode()
    for shown in ("OrgCreated", "audit.unknown.kind", "downloaded", "mirrored"):
        assert shown in text
    assert 'data-copy="sha256:"' not in text
    assert "\u202e" not in text
    assert "<b>" not in text
    others = admin_client.get("/admin/audit/auditevent/?action=other").content.decode()
    assert "audit.unknown.kind" in others
    assert "cas-badge" in others
    for row in AuditEvent.objects.all():
        assert admin_client.get(f"/admin/audit/auditevent/{row.pk}/change/").status_code == 200
