"""Whether this web process is about to end: it serves on, but says so to whoever could go elsewhere."""

import signal
import threading
from collections.abc import Callable
from typing import Any

# What the server's first process sends the others (casproject/serve.py); it means nothing to granian.
SIGNAL = signal.SIGUSR1

_has_begun = threading.Event()
has_begun = _has_begun.is_set


def listen() -> None:
    """Begin to drain at the signal. Does nothing in a thread but the main one, where Python takes signals."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(SIGNAL, lambda *_: _has_begun.set())


def closing(start_response: Callable[..., Any]) -> Callable[..., Any]:
    """The same with `Connection: close`: a proxy that keeps the connection would meet its end in mid-request."""

    def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
        return start_response(status, [*headers, ("Connection", "close")], *exc_info)

    return start
