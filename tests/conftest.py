import io
import logging
import math
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGINT, default_int_handler
from signal import signal as set_handler
from typing import Any

import pytest
from django.contrib.auth.signals import user_logged_in
from django.core.management import call_command
from django.db import connection
from django.dispatch import Signal
from django.test import Client
from hypothesis import settings as hypothesis_settings
from pytest_django import DjangoDbBlocker, Settings

from artifacts import late_labels, locations
from artifacts.models import Location
from artifacts.signals import artifact_deduplicated, artifact_downloaded, artifact_uploaded
from audit import intake, journal, last_checkpoint, nudge, upkeep_tasks, write_ahead
from audit.outages import Outage
from audit.write_ahead import WriteAheadLog
from casproject import health
from common import first_query, group_commit
from common.refusals import Refusals
from people.receivers import record_sign_in
from tests.conformance import violations
from tests.servers import NatsServer, PostgresServer
from tests.wanting import MARK

# The same examples everywhere, however long each takes.
hypothesis_settings.load_profile("ci")


def pytest_configure() -> None:
    """Have Ctrl-C do what it does, though the shell that started the tests told them to ignore it."""
    set_handler(SIGINT, default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: the others are run beside them, rather than before them."""
    longest = ["test_outbox_postgres.py", "test_types.py", "test_brokers.py", "test_pages.py", "test_object_stores.py"]
    longest += ["test_rolling_restart.py", "test_upkeep.py", "test_backup.py"]
    places = {name: place for place, name in enumerate(longest)}
    items.sort(key=lambda item: places.get(item.path.name, len(longest)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was not tested for want of something."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = {str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped if report.longrepr}
    for reason in sorted(reason for reason in reasons if reason.startswith(MARK)):
        terminalreporter.write_line(f"*** {reason}", red=True, bold=True)


@pytest.fixture(scope="session", autouse=True)
def _no_connection_is_left(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """PostgreSQL drops no test database that a thread, of group commit or of a test, is still connected to."""
    yield
    group_commit.stop()
    if connection.vendor == "postgresql":
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute("""
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()
            """)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No event waits in a file because the machine has other work."""
    monkeypatch.setattr(group_commit, "PATIENCE", 30.0)


@pytest.fixture(autouse=True)
def _answers_are_as_described(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer that a test gets through Django's client is held against the OpenAPI document."""
    request = Client.request

    def checked(self: Client, **environ: Any) -> Any:
        answer = request(self, **environ)
        found = violations(
            environ.get("HTTP_X_HTTP_METHOD_OVERRIDE", answer.request["REQUEST_METHOD"]),
            answer.request["PATH_INFO"],
            answer,
        )
        assert not found, "\n".join(found)
        return answer

    monkeypatch.setattr(Client, "request", checked)


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    locations.forget()
    monkeypatch.setattr(last_checkpoint, "_file", lambda: tmp_path / "last-checkpoint.json")
    monkeypatch.setattr(last_checkpoint._Progress, "kept", None)
    monkeypatch.setattr(last_checkpoint, "_unwritable", Outage(last_checkpoint.logger))
    monkeypatch.setattr(upkeep_tasks, "_lost_checkpoint", Outage(upkeep_tasks.logger, logging.CRITICAL))
    health._NoDefault.seen_at = -math.inf
    first_query.outage.end()
    monkeypatch.setattr(group_commit._group_commit, "_refusals", Refusals())


@pytest.fixture(autouse=True)
def late_labels_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Late labels of the test's own, which no thread takes in behind its back; what starts the thread."""
    begin = late_labels.begin
    monkeypatch.setattr(late_labels, "_folder", lambda: tmp_path / "labels")
    monkeypatch.setattr(late_labels, "begin", lambda: None)
    return begin


@pytest.fixture(autouse=True)
def write_ahead_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A write-ahead log, and a journal, of the test's own, which no thread takes into the trail behind its back."""
    folder = tmp_path / "write-ahead"
    log = WriteAheadLog()
    monkeypatch.setattr(write_ahead, "_folder", lambda: folder)
    monkeypatch.setattr(write_ahead, "_log", log)
    for name in ("append", "append_durably", "take_in"):
        monkeypatch.setattr(write_ahead, name, getattr(log, name))
    monkeypatch.setattr(intake._Refusal, "at", None)
    monkeypatch.setattr(intake, "_outage", Outage(intake.logger))
    monkeypatch.setattr(nudge, "wake", lambda: None)
    monkeypatch.setattr(journal, "_folder", lambda: tmp_path / "journal")
    monkeypatch.setattr(journal, "_held", deque())
    yield folder
    log.close()


@pytest.fixture
def location(db: None, tmp_path: Path) -> Location:
    """The default location, in a folder of its own."""
    root = tmp_path / "artifacts"
    root.mkdir()
    return Location.objects.create(name="default", backend="FILESYSTEM", options={"location": str(root)})


@pytest.fixture
def root(location: Location) -> Path:
    """The default location's folder."""
    return Path(location.options["location"])


@pytest.fixture
def sent_signals() -> Iterator[list[tuple[Signal, dict[str, Any]]]]:
    """Every transfer signal sent during the test, with its arguments."""
    sent: list[tuple[Signal, dict[str, Any]]] = []
    signals = [artifact_uploaded, artifact_deduplicated, artifact_downloaded]
    receivers: list[Callable[..., None]] = []
    for signal in signals:

        def remember(signal: Signal, **values: Any) -> None:
            values.pop("sender")
            sent.append((signal, values))

        receivers.append(remember)
        signal.connect(remember)
    yield sent
    for signal, receiver in zip(signals, receivers, strict=True):
        signal.disconnect(receiver)


@pytest.fixture(scope="session")
def _nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def nats(_nats: NatsServer, settings: Settings) -> NatsServer:
    """A real NATS with the audit stream, to which NATS_URL points."""
    settings.NATS_URL = _nats.url
    call_command("audit_stream", "create", stdout=io.StringIO())
    return _nats


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A DATABASE_URL of a real PostgreSQL, for processes that a test starts."""
    server = PostgresServer(
        "-c", "autovacuum=off"
    )  # which would change what plans are made by, in the middle of a test
    server.start()
    yield server.url
    server.stop()


@pytest.fixture(autouse=True)
def _test_clients_sign_in_unnoticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """`force_login` gives a test its user; only those who sign in by the form are in the trail."""
    force_login = Client.force_login

    def unnoticed(client: Client, user: Any, backend: str | None = None) -> None:
        user_logged_in.disconnect(record_sign_in)
        try:
            force_login(client, user, backend)
        finally:
            user_logged_in.connect(record_sign_in)

    monkeypatch.setattr(Client, "force_login", unnoticed)
