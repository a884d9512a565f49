"""The log's two forms. In both a record is one line, or continues with lines that are indented, whatever it holds."""

import json
import logging
import re
import time
import traceback
from datetime import UTC, datetime

from casproject.observability.redaction import redact
from common.origin import request_id

# What a terminal or a reader of lines might act on: C0 and C1 controls, line and paragraph separators, overrides of
# direction. Backslashes stay, so that messages read as they were meant.
_CONTROLS = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def escape(text: str) -> str:
    """The text in one line."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class RefusedHosts(logging.Filter):
    """Makes the traceback of each host that is not ours one line, once a minute: anybody can ask for any host."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0  # seconds of the monotonic clock

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + 60
        told = record.getMessage().replace(" ALLOWED_HOSTS", " CAS_ALLOWED_HOSTS")
        record.msg, record.args, record.exc_info = f"{told} Others go untold for a minute.", (), None
        return True


class Plain(logging.Formatter):
    """`LEVEL logger: message`, with the request's id where there is one; tracebacks are indented."""

    def format(self, record: logging.LogRecord) -> str:
        named = f" [{found}]" if (found := request_id()) else ""
        line = f"{record.levelname} {record.name}: {escape(redact(record.getMessage()))}{named}"
        details = _details(record)
        return line + "".join(f"\n    {escape(each)}" for each in details.splitlines()) if details else line


class JSON(logging.Formatter):
    """One JSON object a line (RFC 8259): time, level, logger, message, and what else is known."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if found := request_id():
            fields["request_id"] = found
        if details := _details(record):
            fields["exception"] = details
        return json.dumps(fields, default=str)  # ASCII: nothing in it ends a line or turns one around


def _details(record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append("".join(traceback.format_exception(*record.exc_info)))
    if record.stack_info:
        parts.append(record.stack_info)
    return redact("\n".join(parts))
