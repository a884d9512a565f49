"""Spans, for whoever records them: nobody, until casproject/observability/tracing.py puts its own in here."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

Note = Callable[[str, Any], None]  # adds an attribute to the span
Attributes = Callable[[], Mapping[str, Any]]


def _note_nothing(name: str, value: Any) -> None:
    """For spans that nobody records."""


_recorder: Callable[[str, Attributes], AbstractContextManager[Note]] | None = None


def span(name: str, attributes: Attributes) -> AbstractContextManager[Note]:
    """The time of a `with` statement, under a name. Attributes are asked for only when it is recorded."""
    return nullcontext(_note_nothing) if _recorder is None else _recorder(name, attributes)


def record_by(recorder: Callable[[str, Attributes], AbstractContextManager[Note]] | None) -> None:
    """Have spans recorded, or no longer."""
    global _recorder  # noqa: PLW0603  (one a process)
    _recorder = recorder
