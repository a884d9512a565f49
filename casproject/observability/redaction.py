"""What must be in no log, whoever puts it there: tokens, passwords in addresses. Pure."""

import re
from typing import Any

_REDACTED = "[redacted]"
_SECRETS = re.compile(
    r"eyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)?"  # a JWT, whole or cut off
    r"|(?<=Bearer )\S+"
    r"|(?<=Basic )[\w+/=-]+"
    r"|(?<=://)[^/\s@'\"]*:[^/\s@'\"]*(?=@)"  # of postgres://user:password@host
    r"|(?<=://)[^/\s@:'\"]+(?=@)"  # of nats://token@host
    r"|(?<=[?&]t=)[^&\s'\"]+",
    re.IGNORECASE,
)
_SECRET_NAMES = re.compile(r"authorization|cookie|token|secret|password|credential|dsn|api.?key", re.IGNORECASE)


def redact(text: str) -> str:
    """The text without what looks like a secret."""
    return _SECRETS.sub(_REDACTED, text)


def redact_all(value: Any, name: str = "") -> Any:
    """The same for every text in lists and mappings; what has a secret's name is redacted whole."""
    if name and isinstance(value, str | bytes) and _SECRET_NAMES.search(name):
        return _REDACTED
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: redact_all(each, str(key)) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [redact_all(each, name) for each in value]
    return value
