"""Commands that end cleanly when they are asked to."""

import signal
from types import FrameType
from typing import Any, Self


class Stopping:
    """Called, it says whether Ctrl-C or SIGTERM came since the `with` block was entered; the second kills, as ever."""

    def __init__(self) -> None:
        self._is_asked = False
        self._handlers: dict[int, Any] = {}

    def __call__(self) -> bool:
        return self._is_asked

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._is_asked = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
