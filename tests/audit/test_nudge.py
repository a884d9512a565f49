"""Waking the publisher, from a thread that nothing of the broker gets out of."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.conf import settings as project_settings
from django.db import connections
from django.test import Client
from pytest_django import Settings

from artifacts.models import Location
from audit import intake, journal, nudge
from audit.models import AuditEvent
from audit.nudge import Nudger
from common.origin import ORIGIN
from tests.factories import bearer, make_event
from tests.servers import wait_until

TOKEN_KEY = (project_settings.CAS_DATA_DIR / "keys" / "token-private.pem").read_text()


@pytest.fixture(autouse=True)
def _nats_is_configured(settings: Settings, tmp_path: Path) -> None:
    settings.NATS_URL = "nats://127.0.0.1:1"
    settings.CAS_DATA_DIR = tmp_path


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry a message."""
    messages: list[None] = []
    monkeypatch.setattr(nudge, "send", lambda: messages.append(None))
    return messages


@pytest.fixture
def nudger(monkeypatch: pytest.MonkeyPatch, _nats_is_configured: None) -> Iterator[Nudger]:
    """A nudger whose thread does nothing after the test, so that it works in no other."""
    nudger = Nudger()
    yield nudger
    parked = threading.Event()

    def park() -> None:
        parked.set()
        threading.Event().wait()

    monkeypatch.setattr(nudger, "_work", park)
    nudger.wake()
    assert parked.wait(10)


def test_burst_of_events_becomes_a_few_messages(nudger: Nudger, sent: list[None]) -> None:
    started = time.monotonic()
    for _ in range(1000):
        nudger.wake()
    while time.monotonic() < started + nudge.INTERVAL * 6:
        nudger.wake()
        time.sleep(0.001)
    assert 1 <= len(sent) <= (time.monotonic() - started) / nudge.INTERVAL + 1


def test_event_after_a_nudge_gets_one_of_its_own(nudger: Nudger, sent: list[None]) -> None:
    nudger.wake()
    wait_until(lambda: len(sent) == 1, what="the first")
    nudger.wake()
    wait_until(lambda: len(sent) == 2, what="the second")


def test_failing_broker_is_logged_once_and_used_again_when_it_is_back(
    nudger: Nudger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[bool] = []
    broken = True

    def send() -> None:
        attempts.append(broken)
        if broken:
            raise ConnectionRefusedError("no broker")

    monkeypatch.setattr(nudge, "send", send)
    monkeypatch.setattr(nudge, "PAUSE", 0.01)
    for count in (1, 2, 3):
        nudger.wake()
        wait_until(lambda count=count: len(attempts) >= count, what="an attempt")  # type: ignore[misc]
    broken = False
    nudger.wake()
    wait_until(lambda: attempts[-1] is False, what="an attempt that succeeds")
    (record,) = (record for record in caplog.records if "no broker" in record.getMessage())
    assert record.levelname == "WARNING"


def test_thread_outlives_a_journal_that_cannot_be_listed(
    nudger: Nudger, sent: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pending = journal.pending
    failures = iter([OSError(24, "Too many open files")] * 2)

    def list_journal() -> list[Path]:
        if failure := next(failures, None):
            raise failure
        return pending()

    monkeypatch.setattr(journal, "pending", list_journal)
    monkeypatch.setattr(nudge, "PAUSE", 0.01)
    wait_until(lambda: nudger.wake() or sent, what="a message is sent")  # type: ignore[func-returns-value]


@pytest.mark.django_db(transaction=True)
def test_upload_sends_a_message_only_where_nats_is_configured(
    client: Client, location: Location, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(current_app, "send_task", lambda name, **options: sent.append(name))
    monkeypatch.setattr(nudge, "wake", nudge.send)  # at once, so that nothing can come later
    headers = bearer(key=TOKEN_KEY)
    settings.NATS_URL = ""
    assert client.post("/artifacts/", b"one", "application/octet-stream", headers=headers).status_code == 201
    assert sent == []
    settings.NATS_URL = "nats://127.0.0.1:1"
    assert client.post("/artifacts/", b"two", "application/octet-stream", headers=headers).status_code == 201
    assert sent == ["audit.tasks.publish_pending"]


def test_nothing_is_sent_where_nats_is_not_configured(
    nudger: Nudger, sent: list[None], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.NATS_URL = ""
    work, done = nudger._work, threading.Event()
    monkeypatch.setattr(nudger, "_work", lambda: (work(), done.set())[0])  # type: ignore[func-returns-value]
    nudger.wake()
    assert done.wait(10)
    assert sent == []


@pytest.mark.django_db(transaction=True)
def test_thread_takes_the_journal_in(nudger: Nudger, sent: list[None]) -> None:
    journal.append(make_event())
    nudger.wake()
    wait_until(lambda: AuditEvent.objects.exists() and not journal.pending(), what="the event is in the trail")


@pytest.mark.django_db(transaction=True)
def test_thread_comes_back_for_what_the_database_refused(
    nudger: Nudger, sent: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "REST", 0.05)
    tries: list[None] = []
    take_in = journal.take_in

    def refuse_once() -> int:
        tries.append(None)
        return 0 if len(tries) == 1 else take_in()

    monkeypatch.setattr(journal, "take_in", refuse_once)
    journal.append(make_event())
    nudger.wake()  # once; the second try is the thread's own
    wait_until(lambda: not journal.pending(), what="the journal is empty")


def test_who_asks_while_a_nudge_is_prepared_is_told_of_by_the_next_alone(
    nudger: Nudger, monkeypatch: pytest.MonkeyPatch
) -> None:
    origins: list[dict[str, str]] = []
    monkeypatch.setattr(nudge, "send", lambda: origins.append(ORIGIN.get()))

    def wake_as(request: str) -> None:
        context = copy_context()
        context.run(ORIGIN.set, {"request_id": request})
        context.run(nudger.wake)

    def take_in_while_another_asks() -> int:
        if not origins:
            wake_as("second")
        return 0

    monkeypatch.setattr(intake, "take_in", take_in_while_another_asks)
    wake_as("first")
    wait_until(lambda: len(origins) == 2, what="both")
    assert [origin["request_id"] for origin in origins] == ["first", "second"]


def test_message_names_the_task_and_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[Any, Any]] = []
    monkeypatch.setattr(current_app, "send_task", lambda *args, **options: sent.append((args, options)))
    nudge.send()
    assert sent == [(("audit.tasks.publish_pending",), {"expires": nudge.EXPIRES})]


def test_message_of_the_embedded_broker_is_one_that_a_worker_can_read() -> None:
    current_app.loader.import_default_modules()
    with current_app.connection_for_read() as connection:
        queue = connection.SimpleQueue("celery")
        queue.clear()
        nudge.send()
        message = queue.get(timeout=5)
        message.ack()
    assert current_app.conf.broker_url == "embedded://"
    assert message.headers["task"] == "audit.tasks.publish_pending"
    assert message.headers["task"] in current_app.tasks
    assert message.headers["expires"]


def run(script: str, **environment: str) -> str:
    """Run a script in a process of its own, over this test run's settings."""
    done = subprocess.run(
        [sys.executable, "-c", f"import django; django.setup()\n{script}"],
        env={**os.environ, "PYTHONPATH": str(project_settings.BASE_DIR), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_forked_process_has_a_thread_of_its_own() -> None:
    script = """
import os, threading
from django.conf import settings
from audit import nudge
settings.NATS_URL = "nats://127.0.0.1:1"

def send():
    os.write(1, f"{os.getpid()}\\n".encode())
    is_sent.set()

nudge.send = send
is_sent = threading.Event()
nudge.wake()
is_sent.wait(30)
child = os.fork()
is_sent = threading.Event()
nudge.wake()
is_sent.wait(30)
if child:
    os.waitpid(child, 0)
os._exit(0)
"""
    assert len(set(run(script).split())) == 2


def test_broker_that_never_answers_holds_nobody_up() -> None:
    script = """
import socket, threading, time
listener = socket.create_server(("127.0.0.1", 0))
from casproject.celery import app
app.conf.broker_url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
from django.conf import settings
from audit import nudge
settings.NATS_URL = "nats://127.0.0.1:1"
started = time.perf_counter()
for _ in range(100):
    nudge.wake()
print(time.perf_counter() - started)
listener.accept()  # it was asked, and does not answer
import os; os._exit(0)
"""
    assert float(run(script).splitlines()[0]) < 10


def test_events_that_an_earlier_process_journaled_do_not_wait_for_the_next_failure(tmp_path: Path) -> None:
    journal.append(make_event())
    environment = {"CAS_DATA_DIR": str(tmp_path), "DATABASE_URL": f"sqlite:///{tmp_path}/cas.sqlite3", "NATS_URL": ""}
    environment["DJANGO_SETTINGS_MODULE"] = "casproject.settings"
    run("from django.core.management import call_command; call_command('migrate', verbosity=0)", **environment)
    script = """
import time
import casproject.wsgi
from audit.models import AuditEvent
deadline = time.monotonic() + 40
while not AuditEvent.objects.exists() and time.monotonic() < deadline:
    time.sleep(0.05)
print(AuditEvent.objects.count())
"""
    assert run(script, **environment) == "1\n"


def test_fork_while_another_thread_is_inside_wake_leaves_the_child_able_to_wake() -> None:
    script = """
import os, signal, threading
from django.conf import settings
from audit import nudge
settings.NATS_URL = "nats://127.0.0.1:1"
nudge.send = lambda: os._exit(0)
is_inside = threading.Event()
def stay_inside(nudger):
    with nudger._wanted._cond, nudger._lock:
        is_inside.set()
        threading.Event().wait()
threading.Thread(target=stay_inside, args=(nudge._nudger,), daemon=True).start()
is_inside.wait()
child = os.fork()
if child == 0:
    signal.alarm(10)
    nudge.wake()
    signal.pause()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run(script) == "0\n"


def test_thread_that_cannot_be_started_is_no_error_of_the_transfer(
    sent: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    nudger = Nudger()
    with monkeypatch.context() as crowded:
        crowded.setattr(threading.Thread, "start", refuse)
        nudger.wake()
    assert sent == []


def test_broker_that_never_answers_does_not_keep_the_process_from_ending() -> None:
    script = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
from casproject.celery import app
app.conf.broker_url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
app.conf.broker_transport_options = {}  # no time limits at all
from django.conf import settings
from django.test import Client
from audit import nudge
settings.NATS_URL = "nats://127.0.0.1:1"
nudge.wake()
connection, _ = listener.accept()
connection.recv(1)  # the thread waits for an answer now
print(Client().get("/livez", headers={"Host": "localhost"}).status_code)
"""
    assert run(script) == "200\n"


def test_first_events_of_many_requests_start_one_thread(
    nudger: Nudger, sent: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[threading.Thread] = []
    start = threading.Thread.start
    all_are_here = threading.Barrier(4)
    lock = nudger._lock

    class LockTheyReachTogether:
        def __enter__(self) -> None:
            all_are_here.wait(10)
            lock.acquire()

        def __exit__(self, *error: object) -> None:
            lock.release()

    def count(thread: threading.Thread) -> None:
        if thread.name == "audit-nudge":
            started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", count)
    monkeypatch.setattr(nudger, "_lock", LockTheyReachTogether())
    requests = [threading.Thread(target=nudger.wake) for _ in range(4)]
    for request in requests:
        request.start()
    for request in requests:
        request.join()
    assert len(started) == 1


def test_thread_without_events_sends_nothing(nudger: Nudger, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[None] = []
    waits: list[None] = []
    wait = nudger._wanted.wait

    def count(timeout: float | None) -> bool:
        waits.append(None)
        return wait(timeout)

    monkeypatch.setattr(nudge, "send", lambda: sent.append(None))
    monkeypatch.setattr(nudger._wanted, "wait", count)
    nudger.wake()
    wait_until(lambda: len(waits) == 2, what="the thread waits again")
    assert not nudger._wanted.is_set()
    assert len(sent) == 1


def test_broker_that_fails_again_is_logged_again(
    nudger: Nudger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([ConnectionRefusedError("first"), None, ConnectionRefusedError("second"), None])
    attempts: list[None] = []

    def send() -> None:
        answer = next(answers)
        attempts.append(None)
        if answer:
            raise answer

    monkeypatch.setattr(nudge, "send", send)
    monkeypatch.setattr(nudge, "PAUSE", 0.01)
    for count in (1, 2, 3, 4):
        nudger.wake()
        wait_until(lambda count=count: len(attempts) == count, what="an attempt")  # type: ignore[misc]
    failures = [record.getMessage() for record in caplog.records if "ConnectionRefusedError" in record.getMessage()]
    assert ["first" in failures[0], "second" in failures[1], len(failures)] == [True, True, 2]


@pytest.mark.django_db(transaction=True)
def test_thread_keeps_no_database_connection(nudger: Nudger, sent: list[None], monkeypatch: pytest.MonkeyPatch) -> None:
    is_open: list[bool] = []
    wait = nudger._wanted.wait

    def look(timeout: float | None) -> bool:
        is_open.append(connections["default"].connection is not None)  # of the thread that waits
        return wait(timeout)

    monkeypatch.setattr(nudger._wanted, "wait", look)
    journal.append(make_event())
    nudger.wake()
    wait_until(lambda: len(is_open) >= 2 and not journal.pending(), what="the journal is taken in")
    assert is_open[:2] == [False, False]
