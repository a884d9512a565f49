"""Real brokers between web server and worker: the way of an event over them, and without them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
import requests

from tests.functional.stack import LiveStack, Tenant
from tests.rabbitmq import RabbitServer
from tests.servers import BrokerServer, NatsServer, PostgresServer, free_port, wait_until

SECONDS = 90


class Broker(Protocol):
    url: str

    def start(self) -> None: ...

    def stop(self) -> None: ...


@pytest.fixture(scope="module", params=[BrokerServer, RabbitServer], ids=["Redis", "RabbitMQ"])
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Shared by the module's tests: whoever stops it starts it again."""
    server: Broker = request.param(tmp_path_factory.mktemp("broker"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def stack(broker: Broker, tmp_path: Path) -> Iterator[LiveStack]:
    stack = LiveStack(tmp_path / "stack", NatsServer(tmp_path / "nats"), CELERY_BROKER_URL=broker.url)
    stack.prepare()
    yield stack
    stack.stop()


def answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/livez", timeout=SECONDS).ok
    except requests.ConnectionError:
        return False


def put_some(tenant: Tenant, *contents: bytes) -> None:
    for content in contents:
        assert tenant.put(content).status_code == 201


def test_nudge_reaches_a_worker_also_after_one_of_them_was_restarted(stack: LiveStack, broker: Broker) -> None:
    """No beat runs: nothing but the nudge could have an event published."""
    tenant = Tenant(stack)
    stack.start("web", "worker")

    def is_next_published(number: int) -> bool:  # a worker that starts throws away the nudges that it finds
        assert tenant.put(b"next").ok
        rows = tenant.rows()
        return len(rows) > number and rows[number]["state"] == "published"

    wait_until(lambda: is_next_published(0), SECONDS, "the worker publishes")
    stack.end("worker")
    stack.start("worker")
    restarted = len(tenant.rows())
    wait_until(lambda: is_next_published(restarted), SECONDS, "the restarted worker publishes")
    broker.stop()
    waiting = len(tenant.rows())
    put_some(tenant, b"last")
    broker.start()
    wait_until(lambda: is_next_published(waiting), SECONDS, "nudges get through the restarted broker")


def test_doctor_sees_the_broker(stack: LiveStack, broker: Broker) -> None:
    found = stack.manage("doctor")
    assert "ok    broker: connected to" in found
    assert "guest:" not in found


def test_broker_that_is_away_fails_no_transfer_and_the_sweep_publishes_when_it_is_back(
    stack: LiveStack, broker: Broker
) -> None:
    tenant = Tenant(stack)
    stack.start("web", "worker", "beat")
    put_some(tenant, b"before")
    tenant.wait_for_published(1, SECONDS)
    broker.stop()
    wait_until(lambda: "Connection to broker lost" in stack.log("worker"), SECONDS, "no sweep is on its way")
    put_some(tenant, b"meanwhile", b"and another")

    def are_kept() -> bool:  # a file may hold them for a moment
        return [row["state"] for row in tenant.rows()] == ["published", "pending", "pending"]

    wait_until(are_kept, SECONDS, "both wait")
    broker.start()
    tenant.wait_for_published(3, SECONDS)
    put_some(tenant, b"after")
    tenant.wait_for_published(4, SECONDS)
    assert len({event["id"] for event in stack.stream(tenant.organization)}) == 4


def test_several_of_each_and_two_beats_by_mistake_do_no_harm(stack: LiveStack) -> None:
    other_port = free_port()
    stack.add("web-2", "web", CAS_PORT=str(other_port))
    stack.add("worker-2", "worker", "--hostname", "second@%h")
    stack.add("beat-2", "beat", "--schedule", str(stack.folder / "second-schedule"))
    stack.start("web", "web-2", "worker", "worker-2", "beat", "beat-2")
    wait_until(lambda: answers(other_port), SECONDS, "the second web server answers")
    tenant = Tenant(stack)
    contents = [f"content {number}".encode() for number in range(60)]
    first = stack.url
    for number, content in enumerate(contents):
        stack.url = f"http://127.0.0.1:{other_port}" if number % 2 else first
        put_some(tenant, content)
    stack.url = first
    tenant.wait_for_published(60, SECONDS)
    assert len(stack.stream(tenant.organization)) == 60
    wait_until(lambda: all(row["position"] is not None for row in tenant.rows()), SECONDS, "all are sealed")
    assert len({row["position"] for row in tenant.rows()}) == 60
    stack.manage("verify_trail")
    assert set(stack.running()) == {"web", "web-2", "worker", "worker-2", "beat", "beat-2"}


def test_machines_share_servers_and_no_folder_of_their_own(broker: Broker, tmp_path: Path) -> None:
    """Web server, worker and beat as on three machines, over PostgreSQL, the broker and a cluster's address list."""
    postgres = PostgresServer()
    nats = NatsServer(tmp_path / "nats")
    stack = LiveStack(
        tmp_path / "web",
        nats,
        CELERY_BROKER_URL=broker.url,
        DATABASE_URL=postgres.url,
        NATS_URL=f"nats://127.0.0.1:1,{nats.url}",
    )
    try:
        postgres.start()
        stack.prepare()
        port = free_port()
        for name in ("worker", "beat"):
            (tmp_path / name).mkdir()
            stack.add(f"{name} elsewhere", name, CAS_DATA_DIR=str(tmp_path / name), CAS_METRICS_PORT=str(port))
        tenant = Tenant(stack)
        stack.start("web", "worker elsewhere", "beat elsewhere")
        put_some(tenant, b"one", b"two")
        assert tenant.get(b"one").content == b"one"
        wait_until(lambda: len(stack.stream(tenant.organization)) == 3, SECONDS, "the worker elsewhere publishes")
        metrics = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=SECONDS).text
        assert 'cas_publish_results_total{result="acked"} ' in metrics
        found = json.loads(stack.manage("doctor", "--json"))["findings"]
        assert [finding for finding in found if finding["level"] == "fail"] == []
        assert any("PostgreSQL" in finding["text"] for finding in found)
    finally:
        stack.stop()
        postgres.stop()
