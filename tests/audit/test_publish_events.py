"""`manage.py publish_events`, in this process and as several real ones, against a real NATS."""

import io
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings as configured
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, connections, transaction
from django.utils import timezone
from nats.js.api import StreamConfig
from pytest_django import Settings

from audit import journal, outbox, publisher
from audit.management.commands import publish_events as command
from audit.models import AuditEvent, State
from tests.audit.test_publisher import with_jetstream
from tests.factories import ORGANIZATION, database_url, make_event, make_row
from tests.servers import NatsServer

pytestmark = pytest.mark.django_db

OTHER = UUID(int=7)


@pytest.fixture(autouse=True)
def _folder_of_its_own(own_publisher: None, settings: Settings, tmp_path: Path) -> None:
    settings.CAS_DATA_DIR = tmp_path


def publish_events(*arguments: str) -> str:
    out = io.StringIO()
    call_command("publish_events", *arguments, stdout=out)
    return out.getvalue()


def publish_events_and_fail(*arguments: str) -> tuple[str, CommandError]:
    out = io.StringIO()
    with pytest.raises(CommandError) as raised:
        call_command("publish_events", *arguments, stdout=out)
    assert raised.value.returncode == 1
    return out.getvalue(), raised.value


def states() -> Counter[str]:
    return Counter(AuditEvent.objects.values_list("state", flat=True))


def test_what_is_due_is_published(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "BATCH", 2)
    for _ in range(5):
        make_row()
    assert publish_events() == "5 published, 0 refused for good, 0 waiting.\n"
    assert states() == {"published": 5}


def test_nothing_to_do_is_success(nats: NatsServer) -> None:
    make_row(State.FAILED)
    assert publish_events() == "0 published, 0 refused for good, 0 waiting.\n"
    assert states() == {"failed": 1}


def test_what_waits_in_the_journal_is_published_too(nats: NatsServer) -> None:
    journal.append(make_event())
    assert publish_events() == "1 published, 0 refused for good, 0 waiting.\n"


def test_failed_events_are_published_when_asked_for(nats: NatsServer) -> None:
    make_row(State.FAILED)
    make_row()
    assert json.loads(publish_events("--retry-failed", "--json")) == {
        "retried": 1,
        "published": 2,
        "failed": 0,
        "put_off": 0,
        "waiting": 0,
        "reason": "",
    }
    assert states() == {"published": 2}


@pytest.mark.parametrize("state", [State.PUBLISHED, State.LOCAL, State.MIRRORED])
def test_what_did_not_fail_is_not_retried(nats: NatsServer, state: State) -> None:
    make_row(state)
    assert json.loads(publish_events("--retry-failed", "--json"))["retried"] == 0
    assert states() == {state: 1}


def test_one_organization_is_published_alone(nats: NatsServer) -> None:
    for organization in (ORGANIZATION, OTHER):
        make_row(org_id=organization)
        make_row(State.FAILED, org_id=organization)
    summary = json.loads(publish_events("--org", str(OTHER), "--retry-failed", "--json"))
    assert (summary["retried"], summary["published"], summary["waiting"]) == (1, 2, 0)
    assert set(AuditEvent.objects.filter(org_id=OTHER).values_list("state", flat=True)) == {"published"}
    assert set(AuditEvent.objects.filter(org_id=ORGANIZATION).values_list("state", flat=True)) == {"pending", "failed"}


def test_organization_that_is_none_is_an_error(nats: NatsServer) -> None:
    with pytest.raises(CommandError, match="'acme' is not a UUID"):
        call_command("publish_events", "--org", "acme")


def test_without_nats_url_it_says_so(settings: Settings) -> None:
    settings.NATS_URL = ""
    _, error = publish_events_and_fail()
    assert "NATS_URL is not set" in str(error)


def test_nats_that_is_away_is_an_error_that_says_how_many_wait(settings: Settings) -> None:
    settings.NATS_URL = "nats://127.0.0.1:1"
    for _ in range(3):
        make_row()
    make_row(State.FAILED)
    out, error = publish_events_and_fail("--json", "--retry-failed")
    assert str(error).startswith("NATS is not reachable: ")
    assert str(error).endswith(" 4 events wait.")
    assert json.loads(out)["waiting"] == 4
    assert states() == {"pending": 4}


def test_poison_is_told_and_holds_up_no_other(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "BATCH", 2)
    rows = [make_row() for _ in range(6)]
    with connection.cursor() as cursor:
        for row in rows[:3]:
            cursor.execute("UPDATE audit_auditevent SET payload = %s WHERE id = %s", ["x" * 2_000_000, row.pk])
    out, error = publish_events_and_fail()
    assert out == "3 published, 3 refused for good, 0 waiting.\n"
    assert "3 events were refused for good, 0 for now: larger than the 1048576 bytes" in str(error)
    assert states() == {"failed": 3, "published": 3}


def test_missing_stream_puts_off_what_was_tried_and_leaves_the_rest(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "BATCH", 2)
    server = NatsServer(tmp_path / "nats")
    settings.NATS_URL = server.url
    server.start()
    try:
        for _ in range(5):
            make_row()
        out, error = publish_events_and_fail()
    finally:
        server.stop()
    assert out == "0 published, 0 refused for good, 5 waiting.\n"
    assert str(error) == "0 events were refused for good, 2 for now: no stream takes this subject"
    assert list(AuditEvent.objects.order_by("id").values_list("attempts", flat=True)) == [1, 1, 0, 0, 0]


def test_retry_succeeds_once_the_stream_takes_larger_messages(tmp_path: Path, settings: Settings) -> None:
    server = NatsServer(tmp_path / "nats")
    settings.NATS_URL = server.url
    server.start()

    def limit(size: int, method: str) -> None:
        config = StreamConfig(name="chainloop-audit", subjects=["audit.>"], max_msg_size=size)
        with_jetstream(server, lambda js: getattr(js, method)(config))

    try:
        limit(100, "add_stream")
        make_row()
        publish_events_and_fail()
        assert AuditEvent.objects.get().last_error == "message size exceeds maximum allowed (JetStream error 10054)"
        limit(100_000, "update_stream")
        publish_events("--retry-failed")
    finally:
        server.stop()
    row = AuditEvent.objects.get()
    assert (row.state, row.last_error, row.attempts) == ("published", "", 2)


def test_interrupt_ends_it_without_a_traceback_and_loses_no_event(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    make_row()
    monkeypatch.setattr(publisher, "publish", interrupt)
    with pytest.raises(CommandError, match=r"^Interrupted\. 0 published") as raised:
        publish_events()
    assert raised.value.returncode == 130
    assert states() == {"pending": 1}


@pytest.mark.django_db(transaction=True)
def test_database_that_fails_is_told_without_a_traceback(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OperationalError("the database went away")

    make_row()
    monkeypatch.setattr(outbox, "mark", fail)
    _, error = publish_events_and_fail()
    assert str(error) == "The database failed: the database went away"
    assert states() == {"pending": 1}


@contextmanager
def claimed_elsewhere() -> Iterator[None]:
    """Another process has claimed all that is due, and gives it back in the end."""
    has_claimed, is_over = threading.Event(), threading.Event()

    def claim() -> None:
        with transaction.atomic():
            claimed = outbox.claim(100)
            if connection.vendor == "postgresql":
                has_claimed.set()
                is_over.wait(60)
        has_claimed.set()
        is_over.wait(60)
        outbox.release(claimed)
        connections.close_all()

    thread = threading.Thread(target=claim)
    thread.start()
    try:
        assert has_claimed.wait(60)
        yield
    finally:
        is_over.set()
        thread.join()


def on_sleep(monkeypatch: pytest.MonkeyPatch, call: Callable[[], object] = lambda: None) -> None:
    """Let the command's pauses pass at once, and this happen in each."""
    passed = [0.0]

    def sleep(seconds: float) -> None:
        passed[0] += seconds
        call()

    monkeypatch.setattr(command, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: passed[0]))


@pytest.mark.django_db(transaction=True)
def test_what_another_process_holds_until_the_end_is_told(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    make_row()
    make_row()
    on_sleep(monkeypatch)
    with claimed_elsewhere():
        make_row()
        out, error = publish_events_and_fail()
    assert out == "1 published, 0 refused for good, 2 waiting.\n"
    assert str(error) == "Not published, for another process has taken them or its clock is ahead: 2."


@pytest.mark.django_db(transaction=True)
def test_what_another_process_lets_go_of_is_published(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    make_row()
    with ExitStack() as held:
        held.enter_context(claimed_elsewhere())
        on_sleep(monkeypatch, held.close)
        assert publish_events() == "1 published, 0 refused for good, 0 waiting.\n"


@pytest.mark.django_db(transaction=True)
def test_what_another_process_puts_off_is_told(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    make_row()
    with ExitStack() as held:
        held.enter_context(claimed_elsewhere())

        def put_off() -> None:
            held.close()
            due_at = timezone.now() + timedelta(seconds=outbox.MAX_BACKOFF)
            AuditEvent.objects.update(due_at=due_at, attempts=9, last_error="no ack in time")

        on_sleep(monkeypatch, put_off)
        out, error = publish_events_and_fail()
    assert out == "0 published, 0 refused for good, 1 waiting.\n"
    assert str(error).startswith("Not published, for another process has taken them")


def test_what_backs_off_is_not_waited_for(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    row = make_row()
    later = timezone.now() + timedelta(seconds=20)
    AuditEvent.objects.filter(pk=row.pk).update(due_at=later, attempts=5, last_error="no ack in time")
    monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: 0.0))
    assert publish_events() == "0 published, 0 refused for good, 1 waiting.\n"


@pytest.mark.django_db(transaction=True)
def test_several_processes_publish_each_event_once(nats: NatsServer, tmp_path: Path) -> None:
    rows = [AuditEvent.column_values(make_event(), State.PENDING) for _ in range(4000)]
    with transaction.atomic():
        AuditEvent.insert(rows)
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "casproject.settings",
        "CAS_DATA_DIR": str(tmp_path),
        "CAS_SECRET_KEY": "only-for-tests-0123456789abcdefghijklmnop",
        "CAS_TOKEN_KEYS": ",".join(configured.CAS_TOKEN_KEYS),
        "CAS_CREDENTIAL_KEYS": ",".join(configured.CAS_CREDENTIAL_KEYS),
        "DATABASE_URL": database_url(),
        "NATS_URL": nats.url,
    }
    command = [sys.executable, str(configured.BASE_DIR / "manage.py"), "publish_events", "--json"]
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    done = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, done
    summaries: list[dict[str, Any]] = [json.loads(out) for out, _ in done]
    assert sum(summary["published"] for summary in summaries) == len(rows)
    assert set(AuditEvent.objects.values_list("state", "attempts")) == {("published", 1)}
    sequences = set(AuditEvent.objects.values_list("stream_sequence", flat=True))
    assert len(sequences) == len(rows)
