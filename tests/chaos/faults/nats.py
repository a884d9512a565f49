"""NATS and the stream."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos.faults.base import Fault
from tests.chaos.world import World


class NatsStopped(Fault):
    """NATS is shut down in order."""

    @contextmanager
    def fault(self, world: World) -> Iterator[None]:
        world.nats.shut_down()
        yield
        world.nats.start()


class NatsKilled(Fault):
    """NATS is killed (-9)."""

    @contextmanager
    def fault(self, world: World) -> Iterator[None]:
        world.nats.stop()
        yield
        world.nats.start()


class NatsFrozen(Fault):
    """NATS is SIGSTOPped: connections stay, nothing answers."""

    @contextmanager
    def fault(self, world: World) -> Iterator[None]:
        world.nats.freeze()
        yield
        world.nats.thaw()


class StreamFull(Fault):
    """The stream has as many messages as it may, and refuses more (`max_msgs`, discard new)."""

    @contextmanager
    def fault(self, world: World) -> Iterator[None]:
        world.stream.fill()
        yield
        world.stream.change()


class StreamMissing(Fault):
    """The stream is deleted, and made again later."""

    @contextmanager
    def fault(self, world: World) -> Iterator[None]:
        world.stream.delete()
        yield
        world.stream.create()


class NatsUnauthorized(Fault):
    """NATS comes back wanting a user and a password that the worker does not have."""

    @contextmanager
    def fault(self, world: World) -> Iterator[None]:
        world.nats.shut_down()
        world.nats.start("--user", "another", "--pass", "secret")
        yield
        world.nats.shut_down()
        world.nats.start()
