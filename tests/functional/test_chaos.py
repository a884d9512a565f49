"""The chaos harness in short: `make chaos` has all faults, for longer, and their timing (docs/chaos.md)."""

from collections.abc import Iterator

import pytest

from tests.chaos.faults.base import Fault
from tests.chaos.faults.database import DatabaseLocked
from tests.chaos.faults.nats import NatsKilled
from tests.chaos.faults.web import WebKilledBetweenCommitAndResponse
from tests.chaos.run import run
from tests.chaos.world import World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("chaos")) as world:
        yield world


@pytest.mark.parametrize("fault", [NatsKilled, WebKilledBetweenCommitAndResponse, DatabaseLocked])
def test_clients_trail_and_stream_agree_after(fault: type[Fault], world: World) -> None:
    result = run(world, fault, seconds=1.5, rounds=1)
    assert result.problems() == [], result
