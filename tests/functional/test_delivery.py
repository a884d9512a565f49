"""From a transfer to the stream, whatever becomes of the broker, the worker and NATS in between."""

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.factories import digest_of
from tests.functional.stack import SECONDS, LiveStack, Tenant
from tests.servers import wait_until


def test_each_transfer_is_in_the_stream_once_as_the_trail_has_it(
    tenant: Tenant, stack: LiveStack, content: bytes
) -> None:
    tenant.put(content, "a.txt")
    tenant.put(content, "b.txt")
    tenant.get(content)
    rows = tenant.wait_for_published(3)
    messages = stack.stream(tenant.organization)
    assert [message["id"] for message in messages] == [str_id(row["event_id"]) for row in rows]
    assert [message["sequence"] for message in messages] == [row["stream_sequence"] for row in rows]
    infos = [message["event"]["Data"]["Info"] for message in messages]
    common = {"digest": digest_of(content).hex, "size_bytes": len(content), "backend_type": "FILESYSTEM"}
    assert infos == [
        {**common, "file_name": "a.txt", "skipped": False},
        {**common, "file_name": "b.txt", "skipped": True},
        {**common, "file_name": "a.txt"},
    ]
    assert {message["subject"] for message in messages} == {
        "audit.casartifact.casartifactuploaded",
        "audit.casartifact.casartifactdownloaded",
    }


def str_id(hexadecimal: str) -> str:
    return "-".join(hexadecimal[a:b] for a, b in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)))


def test_internal_traffic_makes_no_event(stack: LiveStack, content: bytes) -> None:
    internal = Tenant(stack, claims={"source-internal": True})
    assert internal.put(content).status_code == 201
    assert internal.get(content).content == content
    assert internal.rows() == []


def test_transfer_of_no_organization_works_and_warns(stack: LiveStack, content: bytes) -> None:
    nobody = Tenant(stack, organization="not-a-uuid")
    assert nobody.put(content).status_code == 201
    assert nobody.get(content).content == content
    assert "not-a-uuid" in stack.log("web")


def test_transfers_go_on_without_nats_and_are_published_when_it_is_back(
    tenant: Tenant, stack: LiveStack, content: bytes
) -> None:
    assert stack.nats is not None
    stack.nats.stop()
    assert tenant.put(content).status_code == 201
    assert tenant.get(content).content == content
    # A download's row follows its last byte.
    wait_until(lambda: [row["state"] for row in tenant.rows()] == ["pending", "pending"], what="both wait")
    stack.nats.start()
    tenant.wait_for_published(2)
    assert len(stack.stream(tenant.organization)) == 2


def test_frozen_nats_loses_nothing(tenant: Tenant, stack: LiveStack, content: bytes) -> None:
    assert stack.nats is not None
    os.kill(stack.nats.process.pid, signal.SIGSTOP)
    assert tenant.put(content).status_code == 201
    wait_until(tenant.rows, what="the row is there")
    os.kill(stack.nats.process.pid, signal.SIGCONT)
    tenant.wait_for_published(1)
    assert len(stack.stream(tenant.organization)) == 1


def test_killed_worker_loses_nothing(tenant: Tenant, stack: LiveStack) -> None:
    contents = [os.urandom(1000) for _ in range(20)]
    for position, content in enumerate(contents):
        if position == 10:
            stack.kill("worker")
        assert tenant.put(content).status_code == 201
    stack.start("worker")
    tenant.wait_for_published(20, seconds=120)  # what it had claimed comes due when its lease is over
    assert len(stack.stream(tenant.organization)) == 20


def is_lost(folder: Path) -> bool:
    try:
        shutil.rmtree(folder)
    except OSError:  # others write to it, and take from it
        return not folder.exists()
    return True


def test_sweep_finds_what_a_lost_nudge_left(tenant: Tenant, stack: LiveStack, content: bytes) -> None:
    stack.kill("worker")
    tenant.put(content)
    wait_until(lambda: is_lost(stack.folder / "broker"), SECONDS, "every message is gone")
    stack.start("worker")
    tenant.wait_for_published(1)


def test_killed_web_server_loses_no_event_of_a_transfer_that_was_complete(tenant: Tenant, stack: LiveStack) -> None:
    content = os.urandom(1000)
    complete = 0
    for _ in range(3):
        tenant.put(content)
        for _ in range(10):
            assert tenant.get(content).content == content
        complete += 11
        stack.kill("web")  # at once: events of downloads are a fraction of a second behind
        stack.start("web")
    rows = tenant.wait_for_published(complete)
    assert sum(row["action"] == "CASArtifactDownloaded" for row in rows) == 30
    assert len(rows) == complete


def test_web_server_that_ends_leaves_no_event_on_its_disk(stack_without_nats: LiveStack) -> None:
    """Nobody else takes it from there, where each has a disk of its own; here, nobody else runs."""
    tenant = Tenant(stack_without_nats)
    content = os.urandom(1000)
    tenant.put(content)
    for _ in range(3):
        for _ in range(20):
            assert tenant.get(content).content == content
        stack_without_nats.end("web")  # at once: events of downloads are a fraction of a second behind
        assert list(stack_without_nats.folder.glob("write-ahead/*")) == []
        stack_without_nats.start("web")
    assert len(tenant.rows()) == 61


@pytest.fixture
def stack_without_nats(tmp_path: Path) -> Iterator[LiveStack]:
    stack = LiveStack(tmp_path / "stack", nats=None)
    stack.prepare()
    stack.start("web")  # alone: nobody takes a message away, and beat sends none
    yield stack
    stack.stop()


def test_without_nats_configured_events_stay_local_and_no_task_is_enqueued(
    stack_without_nats: LiveStack, content: bytes
) -> None:
    tenant = Tenant(stack_without_nats)
    assert tenant.put(content).status_code == 201
    assert tenant.get(content).content == content
    wait_until(lambda: [row["state"] for row in tenant.rows()] == ["local", "local"], what="both are kept")
    time.sleep(1)  # several times what a nudge may wait
    assert list((stack_without_nats.folder / "broker").glob("*.msg")) == []


def test_event_that_the_database_does_not_take_is_published_once_it_does(tenant: Tenant, stack: LiveStack) -> None:
    content = os.urandom(1000)
    tenant.put(content)
    tenant.wait_for_published(1)
    database = stack.folder / "cas.sqlite3"
    with sqlite3.connect(database) as connection:
        connection.execute("ALTER TABLE audit_auditevent RENAME TO gone")
    try:
        assert tenant.get(content).content == content
        assert tenant.put(content).status_code == 200
        waiting = stack.folder / "write-ahead"
        wait_until(
            lambda: sum(len(path.read_text().splitlines()) for path in waiting.glob("*.log")) == 2,
            SECONDS,
            "both events wait",
        )
    finally:
        with sqlite3.connect(database) as connection:
            connection.execute("ALTER TABLE gone RENAME TO audit_auditevent")
    rows = tenant.wait_for_published(3)
    assert sorted(row["action"] for row in rows) == ["CASArtifactDownloaded", *["CASArtifactUploaded"] * 2]
    # A file goes after its rows are committed.
    wait_until(lambda: not list(waiting.iterdir()), SECONDS, "no file is left")
