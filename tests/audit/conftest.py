import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.core.management import call_command
from pytest_django import Settings

from audit import consumer, last_checkpoint, publisher, retention
from audit.keys import read_public_key, signing_key
from audit.statements import KeyRing
from tests.audit.streams import make_stream
from tests.servers import NatsServer


@pytest.fixture
def own_publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process has no connection to publish over yet, and is rid of it after the test."""
    monkeypatch.setattr(publisher, "_publisher", None)
    yield
    if publisher._publisher is not None:
        publisher._publisher[1].close()


@pytest.fixture
def server(tmp_path: Path, settings: Settings) -> Iterator[NatsServer]:
    """A NATS of the test's own with the stream, to which NATS_URL points."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    settings.NATS_URL = server.url
    make_stream(server.url)
    yield server
    server.stop()


@pytest.fixture
def prompt_redelivery(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that was not acked comes again soon."""
    monkeypatch.setattr(consumer, "ACK_WAIT", 1.0)


@pytest.fixture
def public_key(tmp_path: Path, settings: Settings) -> Path:
    """The public half of a key that signs checkpoints, in a file."""
    call_command("make_checkpoint_key", str(tmp_path / "checkpoints"), stdout=io.StringIO(), stderr=io.StringIO())
    settings.CAS_CHECKPOINT_KEY = str(tmp_path / "checkpoints" / "checkpoint-private.pem")
    return tmp_path / "checkpoints" / "checkpoint-public.pem"


@pytest.fixture
def private_key(public_key: Path) -> Ed25519PrivateKey:
    """The other half."""
    key = signing_key()
    assert key is not None
    return key


@pytest.fixture
def keys(public_key: Path) -> KeyRing:
    """The public half, as whoever verifies has it."""
    return KeyRing([read_public_key(public_key)])


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server signs whatever the trail is, as if `last-checkpoint.json` were removed each time."""
    monkeypatch.setattr(last_checkpoint, "read", lambda: None)


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retention takes no rest."""
    monkeypatch.setattr(retention, "PAUSE", 0)
