"""What the command prints: results on standard output, all else on standard error."""

import json
import sys
from typing import Any

from artifact_cas_client.errors import CasError
from artifact_cas_client.progress import Bar, Silent

Result = dict[str, Any]


class Console:
    """One line for each result and error, as text or JSON. `is_piped`: standard output is the artifact's."""

    def __init__(self, *, as_json: bool, is_quiet: bool, is_piped: bool, shows_bar: bool) -> None:
        self._as_json = as_json
        self._is_quiet = is_quiet
        self._results = sys.stderr if is_piped else sys.stdout
        self.bar: Silent = Bar() if shows_bar and not is_quiet and sys.stderr.isatty() else Silent()

    def result(self, name: str, result: Result, text: str) -> None:
        """What became of the file or digest that the user called `name`."""
        if self._as_json:
            text = json.dumps({"input": name, **result}, default=str)
        self.bar.write(_visible(text), self._results)

    def error(self, name: str, error: Exception) -> None:
        status = getattr(error, "status", None)
        code = getattr(error, "code", type(error).__name__)
        detail = error.detail if isinstance(error, CasError) else _os_text(error)
        if self._as_json:
            line = json.dumps({"input": name, "error": {"status": status, "code": code, "detail": detail}})
            self.bar.write(line, self._results)
            return
        origin = code if status is None else f"{status} {code}"
        self.note(f"{name + ': ' if name else ''}{detail} ({origin})", always=True)

    def note(self, text: str, *, always: bool = False) -> None:
        if always or not self._is_quiet:
            self.bar.write(_visible(f"cas: {text}"), sys.stderr)


def _visible(text: str) -> str:
    """A terminal obeys what a file name, or a server, may hold."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _os_text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) or type(error).__name__
