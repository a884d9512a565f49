"""The workers."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos.faults.base import Fault
from tests.chaos.proxy import Mode
from tests.chaos.stream import WINDOW
from tests.chaos.world import World


class AllWorkersKilled(Fault):
    """Worker, maintenance and beat are killed (-9)."""

    @contextmanager
    def fault(self, world: World) -> Iterator[None]:
        for name in ("worker", "maintenance", "beat"):
            world.stack.kill(name)
        yield
        world.stack.start("worker", "maintenance", "beat")


class WorkerKilledBetweenAckAndMark(Fault):
    """The stream has the events, their acks are held back on their way, and the worker is killed (-9).

    Nobody has marked the rows: they come due when the claim's lease runs out, and are published again.
    """

    def environment(self, world: World) -> dict[str, str]:
        return {"NATS_URL": f"nats://127.0.0.1:{world.nats_proxy.port}"}

    @contextmanager
    def fault(self, world: World) -> Iterator[None]:
        world.nats_proxy.set_mode(Mode.HOLD_ANSWERS)
        if world.nats_proxy.held.wait(10):
            world.stack.kill("worker")
        world.nats_proxy.cut()
        yield
        world.nats_proxy.set_mode(Mode.PASS)
        if "worker" not in world.stack.running():
            world.stack.start("worker")


class WorkerKilledBetweenAckAndMarkAndWindowPassed(WorkerKilledBetweenAckAndMark):
    """The same, with a stream whose duplicate window is shorter than the lease: events are in it twice, by one id."""

    may_double = True

    @contextmanager
    def prepared(self, world: World) -> Iterator[None]:
        world.stream.change(duplicate_window=1.0)
        yield
        world.stream.change(duplicate_window=WINDOW)
