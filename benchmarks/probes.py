"""Timers around named functions. A probe's time is its own: what probes inside it took is theirs."""

import functools
import hashlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass
class Spent:
    """Seconds by the clock and of CPU, and how many calls they are of."""

    seconds: float = 0
    cpu: float = 0
    calls: int = 0

    def add(self, seconds: float, cpu: float) -> None:
        self.seconds += seconds
        self.cpu += cpu
        self.calls += 1


class Probes:
    """What the thread that made this spent, by label, while `is_on`."""

    def __init__(self) -> None:
        self._spent: dict[str, Spent] = defaultdict(Spent)
        self.missing: list[str] = []
        self.is_on = False
        self._inside: list[Spent] = []
        self._thread = threading.get_ident()

    def wrap(self, label: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed under this label."""

        @functools.wraps(function, updated=())
        def timed(*arguments: Any, **named: Any) -> Any:
            if not self.is_on or threading.get_ident() != self._thread:
                return function(*arguments, **named)
            self._inside.append(Spent())
            started, cpu = time.perf_counter(), time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                self._add(label, time.perf_counter() - started, time.thread_time() - cpu)

        return timed

    def _add(self, label: str, seconds: float, cpu: float) -> None:
        inside = self._inside.pop()
        self._spent[label].add(seconds - inside.seconds, cpu - inside.cpu)
        if self._inside:
            self._inside[-1].add(seconds, cpu)

    def install(self, label: str, name: str) -> None:
        """Time the function, method or attribute of this dotted name; note it when there is none."""
        found = find(name)
        if found is None:
            self.missing.append(name)
            return
        owner, attribute, value = found
        kind = type(vars(owner).get(attribute)) if isinstance(owner, type) else None
        timed = self.wrap(label, value)
        setattr(owner, attribute, kind(timed) if kind in {staticmethod} else timed)

    def install_hash(self, label: str) -> None:
        """Time SHA-256, whose objects are C and cannot be patched."""
        make = hashlib.sha256

        class Timed:
            def __init__(self, data: bytes = b"", **_: Any) -> None:
                hasher = make(data)
                for method in ("digest", "hexdigest", "copy"):
                    setattr(self, method, getattr(hasher, method))
                self.update = outer.wrap(label, hasher.update)

        outer = self
        hashlib.sha256 = Timed  # type: ignore[assignment]

    def take(self) -> dict[str, "Spent"]:
        """What was collected since the last time."""
        taken = dict(self._spent)
        self._spent.clear()
        return taken


def find(name: str) -> tuple[Any, str, Any] | None:
    """Who has the function, method or attribute of this dotted name, under which name of its own, and the thing."""
    words = name.split(".")
    for length in range(len(words) - 1, 0, -1):
        try:
            owner: Any = import_module(".".join(words[:length]))
        except ImportError:
            continue
        for word in words[length:-1]:
            owner = getattr(owner, word, None)
        value = getattr(owner, words[-1], None)
        return (owner, words[-1], value) if callable(value) else None
    return None
