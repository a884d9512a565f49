"""One request and what became of it: filled in on its way, counted and logged at its end."""

import itertools
import os
import re
import time
from contextvars import ContextVar
from typing import Any

from artifacts.tokens import Grant
from casproject.observability import definitions
from casproject.observability.definitions import OTHER

PARTS = frozenset({"artifacts", "uploads", "download", "api", "admin", "static", "livez", "readyz", "metrics"})

STORED, DEDUPLICATED, SERVED = "stored", "deduplicated", "served"
_BYTES = {
    STORED: definitions.UPLOADED_BYTES,
    DEDUPLICATED: definitions.DEDUPLICATED_BYTES,
    SERVED: definitions.DOWNLOADED_BYTES,
}
_ACTIONS = {
    ("artifacts", "PUT"): "upload",
    ("artifacts", "POST"): "upload",
    ("artifacts", "GET"): "download",
    ("uploads", "POST"): "upload",
    ("uploads", "PATCH"): "upload",
    ("download", "GET"): "download",
}
_CLASSES = {number: f"{number}xx" for number in range(1, 6)}
_UNCHANGED, _REFUSED, _FAILED = 304, 400, 500

_SANE = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}"
)  # what others name their requests; nothing that ends a line
_numbers = itertools.count(1)
_prefix = (0, "")


def _new_id() -> str:
    """Unlike any other's: random for each process, and counted in it. uuid4 takes four times as long."""
    global _prefix  # noqa: PLW0603  (one a process, and after a fork another)
    pid = os.getpid()
    if _prefix[0] != pid:
        _prefix = pid, os.urandom(8).hex()
    return f"{_prefix[1]}{next(_numbers):08x}"


class Exchange:
    """A request under way. `outcome` is set at a transfer's success point, and `grant` when its token was verified."""

    __slots__ = (
        "action",
        "code",
        "digest",
        "environ",
        "grant",
        "is_cut_off",
        "is_over",
        "outcome",
        "part",
        "request_id",
        "seconds",
        "size_bytes",
        "span",
        "started",
        "status",
    )

    def __init__(self, environ: dict[str, Any]) -> None:
        self.environ = environ
        part = environ["PATH_INFO"].strip("/").partition("/")[0]
        self.part: str = part if part in PARTS else OTHER
        # upload or download; "" when the request moves no artifact
        self.action = _ACTIONS.get((self.part, environ["REQUEST_METHOD"]), "")
        if self.action == "download" and environ["PATH_INFO"].endswith("/describe"):
            self.action = ""
        sent = environ.get("HTTP_X_REQUEST_ID")
        self.request_id: str = sent if sent and _SANE.fullmatch(sent) else _new_id()
        self.started = time.perf_counter()
        self.status = 500
        self.seconds = 0.0
        self.grant: Grant | None = None
        self.outcome = self.digest = self.code = ""
        self.size_bytes = 0
        self.is_cut_off = False  # by an error, when its answer had begun
        self.is_over = False
        self.span: Any = None  # when traces are switched on

    @property
    def method(self) -> str:
        method: str = self.environ["REQUEST_METHOD"]
        return method

    @property
    def path(self) -> str:
        """Without the query, which may be a token."""
        path: str = self.environ["PATH_INFO"]
        return path

    @property
    def has_failed(self) -> bool:
        """By the server's fault, whether its client was told or saw the answer end early."""
        return self.is_cut_off or self.status >= _FAILED

    @property
    def result(self) -> str:
        """What became of a transfer."""
        if self.has_failed:  # also of what is stored: its client is told to ask again
            return "busy" if self.code == "busy" else "failed"
        if self.status >= _REFUSED:
            return "refused"
        if self.outcome:
            return self.outcome
        if self.status == _UNCHANGED:
            return "unchanged"
        return "part" if self.part == "uploads" else "aborted"

    @property
    def location_kind(self) -> str:
        """The token's kind of location, if there is such a kind: a token may name any."""
        kind = self.grant.backend if self.grant else ""
        return kind if kind in definitions.KINDS else OTHER

    def cut_off(self, code: str) -> None:
        """Count an error that came when the answer had begun, and so could not be told in one."""
        self.is_cut_off, self.code = True, code
        definitions.PROBLEMS.add(1, code)

    def end(self) -> bool:
        """Count it, once; return whether it was that."""
        if self.is_over:
            return False
        self.is_over = True
        self.seconds = time.perf_counter() - self.started
        definitions.RESPONSES.add(1, self.part, _CLASSES.get(self.status // 100, OTHER))
        if self.outcome and not self.action:  # a HEAD finished what came in pieces
            self.action = "upload"
        if self.action:
            kind = self.location_kind
            definitions.TRANSFERS.add(1, self.action, self.result, kind)
            definitions.DURATION.observe(self.seconds, self.action)
            if self.outcome and self.status < _REFUSED:
                _BYTES[self.outcome].add(self.size_bytes, kind)
        return True


CURRENT: ContextVar[Exchange | None] = ContextVar("exchange", default=None)
