"""The reference consumer."""

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as project_settings
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from audit.consumer import Consumer, Received, Standing
from audit.entries import read_entry
from audit.events import Action, Event
from audit.stream_usage import StateError, UsageState
from audit.usage import Usage
from tests.audit.streams import STREAM, consumer_info, publish, publish_events, publish_raw, raw, with_stream
from tests.factories import ORGANIZATION, make_event
from tests.servers import BIN, NatsServer, wait_until

SECONDS = 90  # a process may take long to start
OTHER = uuid.UUID("2089bb36-e27b-428b-8009-d015c8737c54")
READER = "artifact-cas-usage"
NEVER_ACKS = """
import os, signal, sys, django
django.setup()
from django.core.management import call_command
from audit.consumer import Consumer
Consumer.ack = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
call_command("consume_usage", *sys.argv[1:])
"""


@pytest.fixture(autouse=True)
def _folder_of_its_own(prompt_redelivery: None, settings: Settings, tmp_path: Path) -> None:
    settings.CAS_DATA_DIR = tmp_path / "data"


def consume_usage(*arguments: str) -> dict[str, Any]:
    out = io.StringIO()
    call_command("consume_usage", "--json", *arguments, stdout=out)
    result: dict[str, Any] = json.loads(out.getvalue())
    return result


def usage_of(report: dict[str, Any], organization: uuid.UUID = ORGANIZATION) -> Usage:
    return Usage(**report["organizations"][str(organization)])


def at(time: str, **values: Any) -> Event:
    return make_event(timestamp_ns=int(datetime.fromisoformat(time).replace(tzinfo=UTC).timestamp()) * 10**9, **values)


def environment(tmp_path: Path, server: NatsServer) -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "casproject.settings",
        "CAS_DATA_DIR": str(tmp_path / "data"),
        "NATS_URL": server.url,
    }


def publish_to_reader(server: NatsServer, event: Event) -> None:
    """Publish what is all that the consumer has not read: the server tells it of a message after it has acked that."""
    publish_events(server.url, event)
    wait_until(lambda: consumer_info(server.url, READER).num_pending == 1)


def test_usage_is_counted_by_organization_and_kind(server: NatsServer) -> None:
    publish_events(
        server.url,
        make_event(size_bytes=100),
        make_event(size_bytes=20, skipped=True),
        make_event(size_bytes=3, action=Action.DOWNLOADED),
        make_event(size_bytes=7000, org_id=OTHER),
    )
    report = consume_usage()
    assert usage_of(report) == Usage(100, 3, 20, uploads=1, downloads=1, skipped_uploads=1)
    assert usage_of(report, OTHER) == Usage(7000, uploads=1)
    assert (report["applied"], report["ignored"], report["doubled"]) == (4, {}, 0)


def test_next_run_goes_on_and_counts_nothing_twice(server: NatsServer) -> None:
    publish_events(server.url, make_event(size_bytes=1))
    assert usage_of(consume_usage()).uploaded_bytes == 1
    publish_to_reader(server, make_event(size_bytes=20))
    assert usage_of(consume_usage()).uploaded_bytes == 21
    assert usage_of(consume_usage()).uploaded_bytes == 21


def test_double_beyond_the_duplicate_window_counts_once(server: NatsServer) -> None:
    event = make_event(size_bytes=5)
    publish_events(server.url, event)

    def doubled() -> bool:
        publish_events(server.url, event)
        return with_stream(server.url, lambda stream: stream.stream_info(STREAM)).state.messages > 1

    wait_until(doubled, what="the stream takes the event a second time")
    report = consume_usage()
    assert usage_of(report) == Usage(5, uploads=1)
    assert report["doubled"] == 1
    assert consume_usage("--rebuild") == report


def test_events_without_an_id_count_each(server: NatsServer) -> None:
    payload = make_event(size_bytes=5).payload().encode()
    for _ in range(2):
        publish(server.url, payload, message_id=None)
    assert usage_of(consume_usage()) == Usage(10, uploads=2)


def test_time_is_half_open_and_the_events_own(server: NatsServer) -> None:
    publish_events(
        server.url,
        at("2026-01-01T00:00:00", size_bytes=1),
        at("2026-01-01T12:00:00", size_bytes=20),
        at("2026-01-02T00:00:00", size_bytes=300),
    )
    day = usage_of(consume_usage("--from", "2026-01-01", "--to", "2026-01-02T00:00:00Z"))
    assert day == Usage(21, uploads=2)
    assert usage_of(consume_usage("--from", "2026-01-01T13:00:00+01:00")) == Usage(320, uploads=2)
    assert consume_usage("--to", "2026-01-01T00:00:00")["organizations"] == {}


def test_organizations_can_be_chosen(server: NatsServer) -> None:
    publish_events(server.url, make_event(size_bytes=1), make_event(size_bytes=2, org_id=OTHER))
    nobody = uuid.uuid4()
    report = consume_usage("--org", str(OTHER).upper(), "--org", str(nobody))
    assert report["organizations"] == {str(OTHER): asdict(Usage(2, uploads=1)), str(nobody): asdict(Usage())}


MALFORMED: list[dict[str, Any]] = [
    {"OrgID": None},
    {"OrgID": "not a uuid"},
    {"Info": {"size_bytes": "5"}},
    {"Info": {"size_bytes": -5}},
    {"Info": {"size_bytes": True}},
    {"Info": {"size_bytes": 1e3}},
    {"Info": {"size_bytes": 10**400}},
    {"Info": {"skipped": "yes"}},
]


def malformed() -> list[bytes]:
    timeless = json.loads(make_event().payload()) | {"Timestamp": "yesterday"}
    return [*(with_data(**values) for values in MALFORMED), json.dumps(timeless).encode()]


def with_data(**values: Any) -> bytes:
    event = json.loads(make_event().payload())
    event["Data"].update(values)
    return json.dumps(event).encode()


def test_foreign_and_malformed_messages_are_ignored_and_told(server: NatsServer) -> None:
    foreign = [b"", b"\xff\0", b"[]", b"null", b"{}", b'{"EventType":"AUDIT_EVENT"}', b"[" * 100_000, b'{"a":1e999}']
    for payload in foreign:
        publish(server.url, payload)
    publish(server.url, with_data(ActionType="OrgCreated", Info={"size_bytes": "many"}))
    for payload in malformed():
        publish(server.url, payload)
    publish_raw(server.url, raw(b"NATS/1.0 \xff\xff\xff\xff\r\n\r\n", b"{}"))
    publish_events(server.url, make_event(size_bytes=5))
    report = consume_usage()
    assert usage_of(report) == Usage(5, uploads=1)
    assert report["ignored"] == {
        "no audit event": len(foreign) + 1,
        "another kind of event": 1,
        "malformed": len(malformed()),
    }


def test_sums_may_be_larger_than_a_database_adds_up(server: NatsServer, tmp_path: Path) -> None:
    largest = make_event(size_bytes=2**50)
    messages = [
        Received(number, datetime.now(UTC), "audit.x", str(number), largest.payload().encode(), number, "")
        for number in range(1, 8194)
    ]
    with UsageState(tmp_path / "state") as state:
        state.apply(messages, "consumer")
        assert state.report().organizations[str(ORGANIZATION)].uploaded_bytes == 8193 * 2**50 > 2**63


def test_killed_between_commit_and_ack_counts_once(server: NatsServer, tmp_path: Path) -> None:
    with Consumer(name=READER):
        pass  # made with the short ACK_WAIT of these tests
    publish_events(server.url, *(make_event(size_bytes=size) for size in (1, 20, 300)))
    killed = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", NEVER_ACKS],
        cwd=project_settings.BASE_DIR,
        env=environment(tmp_path, server),
        check=False,
        timeout=SECONDS,
    )
    assert killed.returncode == -signal.SIGKILL
    with UsageState(tmp_path / "data" / "usage" / f"{STREAM}-artifact-cas-usage.sqlite3") as state:
        assert state.report().applied == 3
    assert consumer_info(server.url, READER).num_ack_pending == 3
    report = consume_usage()
    assert usage_of(report) == Usage(321, uploads=3)
    assert report["doubled"] == 0
    wait_until(lambda: consumer_info(server.url, READER).num_ack_pending == 0)


def test_killed_before_commit_counts_when_it_comes_again(server: NatsServer) -> None:
    publish_events(server.url, make_event(size_bytes=1))
    with Consumer(name=READER) as killed:
        assert len(killed.read()) == 1
    assert usage_of(consume_usage()) == Usage(1, uploads=1)


def test_state_that_lacks_what_was_acked_is_refused_until_it_is_rebuilt(server: NatsServer, tmp_path: Path) -> None:
    publish_events(server.url, make_event(size_bytes=1))
    report = consume_usage()
    with pytest.raises(CommandError, match="--rebuild"):
        consume_usage("--state", str(tmp_path / "other"))
    assert consume_usage("--state", str(tmp_path / "other"), "--rebuild") == report


CREATED = "2026-01-01T00:00:00"


def received(sequence: int, consumer_sequence: int, deliveries: int = 1) -> Received:
    return Received(
        sequence, datetime.now(UTC), "audit.x", str(sequence), b"{}", consumer_sequence, "", deliveries=deliveries
    )


def deliver(state: UsageState, first: int, last: int) -> None:
    state.apply([received(number, number) for number in range(first, last + 1)], CREATED)


def standing(acked: int, unacked: int = 0) -> Standing:
    return Standing(CREATED, waiting=0, unacked=unacked, acked=acked, delivered_sequence=acked, ack_wait=30)


def test_what_another_reader_took_between_is_noticed(tmp_path: Path) -> None:
    with UsageState(tmp_path / "state") as state:
        deliver(state, 1, 100)
        state.check(standing(100))
        deliver(state, 201, 300)
        for unacked in (0, 7):
            with pytest.raises(StateError, match="100 of the 300 deliveries"):
                state.check(standing(300, unacked))
        state.check(standing(300), accepts_gap=True)
        state.check(standing(300))
        deliver(state, 301, 400)
        state.check(standing(400))
        with pytest.raises(StateError, match="1 of the 401"):
            state.check(standing(401))


def test_what_is_applied_and_not_acked_hides_no_gap_for_long(tmp_path: Path) -> None:
    with UsageState(tmp_path / "state") as state:
        deliver(state, 1, 100)
        deliver(state, 201, 300)
        state.check(standing(200, unacked=100))
        with pytest.raises(StateError):
            state.check(standing(300))


@given(lost=st.lists(st.booleans(), max_size=30), checks=st.integers(1, 5))
@hypothesis_settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
def test_redeliveries_are_no_gap(tmp_path: Path, lost: list[bool], checks: int) -> None:
    """Each message is lost so often before it arrives, and once more after it was applied."""
    number, delivered = 0, 0
    with UsageState(tmp_path / uuid.uuid4().hex) as state:
        for is_lost in lost:
            number += 1
            deliveries = 3 if is_lost else 1
            delivered += deliveries
            state.apply([received(number, delivered, deliveries)], CREATED)
            if is_lost:
                delivered += 1
                state.apply([received(number, delivered, deliveries + 1)], CREATED)
            if number % checks == 0:
                state.check(standing(delivered))
        state.check(standing(delivered))
        with pytest.raises(StateError):
            state.check(standing(delivered + 1))


def test_file_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    with UsageState(tmp_path / "state") as state:
        deliver(state, 1, 3)
    with sqlite3.connect(tmp_path / "state") as file:
        file.execute("DROP TABLE delivered")
        file.execute("INSERT INTO consumer VALUES (?, 3)", [CREATED])
    file.close()
    with UsageState(tmp_path / "state") as state:
        state.check(standing(3))
        deliver(state, 4, 5)
        state.check(standing(5))
        with pytest.raises(StateError):
            state.check(standing(6))


def test_what_is_settled_is_not_kept_one_by_one(tmp_path: Path) -> None:
    with UsageState(tmp_path / "state") as state:
        deliver(state, 1, 300)
        state.check(standing(300))
        assert state._file.execute("SELECT count(*) FROM delivered").fetchone() == (0,)


def test_reader_that_takes_some_meanwhile_is_noticed(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_events(server.url, *(make_event(size_bytes=size) for size in (1, 20)))
    consume_usage()
    publish_to_reader(server, make_event(size_bytes=300))
    with Consumer(name=READER) as other:
        other.ack(other.read())
    publish_to_reader(server, make_event(size_bytes=4000))
    with pytest.raises(CommandError, match="1 of the 3 deliveries"):
        consume_usage()
    assert usage_of(consume_usage("--accept-gap")).uploaded_bytes == 4021


def test_reader_that_takes_some_while_it_is_drained_is_noticed(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_events(server.url, make_event(size_bytes=1))
    apply = UsageState.apply

    def apply_and_lose(state: UsageState, messages: Any, created: str) -> None:
        apply(state, messages, created)
        monkeypatch.undo()
        publish_to_reader(server, make_event(size_bytes=20))
        with Consumer(name=READER) as other:
            other.ack(other.read())

    monkeypatch.setattr(UsageState, "apply", apply_and_lose)
    with pytest.raises(CommandError, match="1 of the 2 deliveries"):
        consume_usage()


def test_gap_that_is_accepted_is_gone_on_after(server: NatsServer, tmp_path: Path) -> None:
    publish_events(server.url, make_event(size_bytes=1))
    consume_usage()
    publish_to_reader(server, make_event(size_bytes=20))
    state = ["--state", str(tmp_path / "other")]
    assert usage_of(consume_usage(*state, "--accept-gap")) == Usage(20, uploads=1)
    assert usage_of(consume_usage(*state)) == Usage(20, uploads=1)


def test_consumer_made_anew_by_its_owner_counts_nothing_twice(server: NatsServer) -> None:
    publish_events(server.url, make_event(size_bytes=1))
    report = consume_usage()
    with_stream(server.url, lambda stream: stream.delete_consumer(STREAM, READER))
    assert consume_usage() == report


def test_two_consumers_count_for_themselves(server: NatsServer) -> None:
    publish_events(server.url, make_event(size_bytes=1))
    assert consume_usage() == consume_usage("--consumer", "another")


def test_follow_shows_what_comes_outlives_nats_and_stops_cleanly(server: NatsServer, tmp_path: Path) -> None:
    publish_events(server.url, make_event(size_bytes=1))
    log, errors = tmp_path / "log", tmp_path / "errors"
    with log.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(
            [BIN / "python", "-W", "ignore", "manage.py", "consume_usage", "--follow", "--json"],
            cwd=project_settings.BASE_DIR,
            env=environment(tmp_path, server),
            stdout=out,
            stderr=err,
        )
    try:

        def shown() -> int:
            lines = log.read_text().splitlines()
            return usage_of(json.loads(lines[-1])).uploaded_bytes if lines else 0

        wait_until(lambda: shown() == 1, SECONDS, what="what was there is shown")
        server.stop()
        wait_until(lambda: "Trying again" in errors.read_text(), SECONDS, what="the loss is said")
        server.start()
        publish_events(server.url, make_event(size_bytes=20))
        wait_until(lambda: shown() == 21, SECONDS, what="what came after that is shown")
        assert "NATS is back." in errors.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
        assert "Traceback" not in errors.read_text()
    finally:
        process.kill()
        process.wait()


def test_text_says_what_json_does(server: NatsServer) -> None:
    publish_events(server.url, make_event(size_bytes=1234567))
    publish(server.url, b"foreign")
    out = io.StringIO()
    call_command("consume_usage", stdout=out)
    head, row, summary = out.getvalue().splitlines()
    values = dict(zip(head.split("\t"), row.split("\t"), strict=True))
    assert values["organization"] == str(ORGANIZATION)
    assert (values["uploads"], values["uploaded_bytes"]) == ("1", "1234567")
    assert summary == "1 event counted, 1 ignored (no audit event)"


@pytest.mark.parametrize("arguments", [["--from", "yesterday"], ["--org", "acme"], ["--once", "--follow"]])
def test_wrong_arguments_are_said(arguments: list[str]) -> None:
    with pytest.raises(CommandError, match="argument"):
        call_command("consume_usage", *arguments)


def test_absent_nats_is_said(settings: Settings, tmp_path: Path) -> None:
    settings.NATS_URL = "nats://127.0.0.1:1"
    with pytest.raises(CommandError, match="NATS: "):
        call_command("consume_usage", "--state", str(tmp_path / "state"))


def test_file_that_is_no_state_is_said(server: NatsServer, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("something else entirely, and long enough to be taken for a header " * 20)
    with pytest.raises(CommandError, match="cannot be used: "):
        consume_usage("--state", str(tmp_path / "state"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
event_like = st.fixed_dictionaries(
    {"EventType": st.just("AUDIT_EVENT")},
    optional={
        "Timestamp": json_values | st.datetimes().map(lambda time: f"{time.isoformat()}Z"),
        "Data": json_values
        | st.fixed_dictionaries(
            {},
            optional={
                "ActionType": json_values | st.sampled_from(list(Action)),
                "OrgID": json_values | st.uuids().map(str),
                "Info": json_values
                | st.fixed_dictionaries(
                    {}, optional=dict.fromkeys(("digest", "size_bytes", "file_name", "skipped"), json_values)
                ),
            },
        ),
    },
)
payloads = st.binary() | json_values.map(json.dumps).map(str.encode) | event_like.map(json.dumps).map(str.encode)


@given(payload=payloads)
@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_message_is_read_and_none_raises(payload: bytes) -> None:
    entry = read_entry(payload)
    if entry is not None:
        assert entry.size_bytes is None or 0 <= entry.size_bytes <= 2**50
        for text in (entry.action, entry.file_name, entry.backend, entry.digest):
            assert "\0" not in text
            text.encode()


@given(messages=st.lists(payloads, min_size=1, max_size=5))
@hypothesis_settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_any_messages_are_each_applied_or_ignored(tmp_path: Path, messages: list[bytes]) -> None:
    path = tmp_path / uuid.uuid4().hex
    batch = [
        Received(number, datetime.now(UTC), "audit.x", str(number), payload, number, "")
        for number, payload in enumerate(messages, 1)
    ]
    with UsageState(path) as state:
        for _ in range(2):
            state.apply(batch, "consumer")
        report = state.report()
    assert report.applied + sum(report.ignored.values()) == len(messages)
    assert report.doubled == 0
