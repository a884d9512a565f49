import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.dispatch import Signal
from pytest_django import Settings

from artifacts.models import Location
from artifacts.signals import artifact_deduplicated, artifact_downloaded, artifact_uploaded
from tests.servers import NatsServer, PostgresServer


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
    server = PostgresServer()
    server.start()
    yield server.url
    server.stop()
