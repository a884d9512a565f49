"""What a fault is."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos.world import World


class Unavailable(Exception):
    """This machine cannot have the fault; the message says what is missing."""


class Fault:
    """Something that goes wrong for some seconds while clients go on. A class of its own says what, in its name."""

    only_on = ""  # "sqlite" or "postgresql"; "": on both
    may_fail = False  # whether transfers may fail meanwhile
    may_double = False  # whether a message may be in the stream twice: the duplicate window passed
    is_timed = True  # whether transfers must stay as fast as before
    has_slow_clients = False
    drain_seconds = 90.0

    @classmethod
    def name(cls) -> str:
        words = "".join(f" {char.lower()}" if char.isupper() else char for char in cls.__name__).strip()
        return words.replace("nats", "NATS")

    def environment(self, world: World) -> dict[str, str]:
        """What the processes need to be started with for this fault."""
        return {}

    @contextmanager
    def prepared(self, world: World) -> Iterator[None]:
        """What must be so before, and after, and in between; calm is measured in it."""
        yield

    @contextmanager
    def fault(self, world: World) -> Iterator[None]:
        """The fault itself: it has begun when this yields, and has ended when this returns."""
        raise NotImplementedError

    def go_on(self, world: World) -> None:
        """Called again and again while the fault lasts."""
