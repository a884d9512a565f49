"""The broker: a Redis, which Celery's messages go through."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos.faults.base import Fault
from tests.chaos.proxy import Mode
from tests.chaos.world import World


class _RedisFault(Fault):
    def environment(self, world: World) -> dict[str, str]:
        return {"CELERY_BROKER_URL": f"redis://127.0.0.1:{world.broker.port}/0"}


class BrokerStopped(_RedisFault):
    """The broker is killed; it comes back empty."""

    @contextmanager
    def fault(self, world: World) -> Iterator[None]:
        world.broker.stop()
        yield
        world.broker.start()


class BrokerPaused(_RedisFault):
    """The broker is SIGSTOPped."""

    @contextmanager
    def fault(self, world: World) -> Iterator[None]:
        world.broker.signal(signal.SIGSTOP)
        yield
        world.broker.signal(signal.SIGCONT)


class BrokerBlackholed(Fault):
    """The broker takes connections and never answers."""

    def environment(self, world: World) -> dict[str, str]:
        return {"CELERY_BROKER_URL": f"redis://127.0.0.1:{world.broker_proxy.port}/0"}

    @contextmanager
    def fault(self, world: World) -> Iterator[None]:
        world.broker_proxy.set_mode(Mode.BLACKHOLE)
        yield
        world.broker_proxy.set_mode(Mode.PASS)


class EmbeddedBrokerGone(Fault):
    """The embedded broker's folder is a file, so that no message can be put."""

    @contextmanager
    def fault(self, world: World) -> Iterator[None]:
        broker = world.stack.folder / "broker"
        kept = broker.rename(broker.with_name("broker-kept"))
        broker.touch()
        yield
        broker.unlink()
        kept.rename(broker)
