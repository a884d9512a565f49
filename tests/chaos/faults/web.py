"""The web server, all of its processes."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos.faults.base import Fault
from tests.chaos.world import World


class _WebKilled(Fault):
    may_fail = True
    is_timed = False

    @contextmanager
    def fault(self, world: World) -> Iterator[None]:
        self._kill_and_start(world)
        yield

    def go_on(self, world: World) -> None:
        self._kill_and_start(world)

    def _kill_and_start(self, world: World) -> None:
        self._wait(world)
        world.stack.kill("web")
        world.stack.start("web")

    def _wait(self, world: World) -> None:
        raise NotImplementedError


class WebKilledMidUpload(_WebKilled):
    """The web server is killed (-9) at random moments, with uploads half-way, and started again."""

    has_slow_clients = True

    def _wait(self, world: World) -> None:
        time.sleep(random.uniform(0.5, 1.5))


class WebKilledBetweenCommitAndResponse(_WebKilled):
    """The web server is killed (-9) as soon as a new row is seen in the trail: what was not answered by then is not."""

    def _wait(self, world: World) -> None:
        time.sleep(0.5)
        with world.database.connect() as connection:
            query = "SELECT max(id) FROM audit_auditevent"
            before = connection.execute(query).fetchone()
            deadline = time.monotonic() + 5
            while connection.execute(query).fetchone() == before and time.monotonic() < deadline:
                pass
