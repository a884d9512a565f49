"""Where a page goes on, as the opaque text that clients hand back."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from rest_framework.serializers import ValidationError

Reader = Callable[[Any], Any]


def encode(values: Sequence[Any]) -> str:
    """Text of these values: texts, numbers, times, UUIDs."""
    plain = [value if isinstance(value, int | str) else str(value) for value in values]
    return urlsafe_b64encode(json.dumps(plain, separators=(",", ":")).encode()).decode().rstrip("=")


def decode(cursor: str, readers: Sequence[Reader]) -> list[Any]:
    """The values, each through its reader; raises ValidationError for what `encode` did not make."""
    try:
        plain = json.loads(urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
        if not isinstance(plain, list):
            raise TypeError
        return [read(value) for read, value in zip(readers, plain, strict=True)]
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValidationError({"cursor": ["Not the cursor of a page of this list."]}) from error


def time(value: Any) -> datetime:
    return datetime.fromisoformat(value).astimezone(UTC)


def number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError
    return value


def text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    value.encode()  # a lone surrogate is nothing that a database takes
    return value


def identifier(value: Any) -> UUID:
    return UUID(value)
