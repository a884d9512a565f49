"""No fault at all: how far apart two windows of calm are on this machine, which is what a ratio of a p99 is worth."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos.faults.base import Fault
from tests.chaos.world import World


class Nothing(Fault):
    """Nothing goes wrong: the control that the others' times are to be read against."""

    @contextmanager
    def fault(self, world: World) -> Iterator[None]:
        yield
