"""What others publish, taken into the trail by the real worker."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.audit.streams import publish, publish_events
from tests.factories import make_event
from tests.functional.stack import SECONDS, LiveStack
from tests.servers import NatsServer, wait_until


@pytest.fixture
def mirroring(tmp_path: Path) -> Iterator[LiveStack]:
    """A stack with the mirror switched on, of which only what mirrors is started."""
    stack = LiveStack(tmp_path / "stack", NatsServer(tmp_path / "nats"), CAS_MIRROR="true")
    stack.prepare()
    yield stack
    stack.stop()


def payloads(stack: LiveStack) -> list[str]:
    with sqlite3.connect(stack.folder / "cas.sqlite3") as database:
        rows = database.execute("SELECT payload FROM audit_auditevent WHERE state = 'mirrored' ORDER BY id")
        return [payload for (payload,) in rows]


def test_worker_takes_in_what_comes_once_though_it_is_killed(mirroring: LiveStack) -> None:
    assert mirroring.nats
    event = make_event()
    publish_events(mirroring.nats.url, event)
    mirroring.start("maintenance", "beat")
    wait_until(lambda: payloads(mirroring) == [event.payload()], 4 * SECONDS, "the event is taken in")
    mirroring.kill("maintenance")
    publish(mirroring.nats.url, b"meanwhile", "audit.user.userloggedin")
    mirroring.start("maintenance")
    wait_until(lambda: payloads(mirroring) == [event.payload(), "meanwhile"], 4 * SECONDS, "it goes on where it was")
    # Known is what was taken in and not acked yet when the worker was killed.
    assert mirroring.manage("mirror_stream").startswith("0 taken in, ")
