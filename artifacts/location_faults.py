"""What a location's storage says of its settings, for those who may change them: clients are not told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured

from artifacts.credentials import CredentialsUnreadable

if TYPE_CHECKING:
    from artifacts.models import Location

SHORTEST_SECRET = 4  # what is shorter is no secret, and stands in any text


def explain(error: Exception, location: Location) -> str:
    """What failed and what the storage says of it, without any credential that it repeats."""
    text = str(error)
    if error.__cause__ is not None:
        text += f" {type(error.__cause__).__name__}: {error.__cause__}".removesuffix(": ")
    return mask(text, _readable_credentials(location))


def mask(text: str, credentials: dict[str, Any]) -> str:
    """The text without the credentials' values."""
    for secret in _strings_in(credentials):
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, "…")
    return text


def _readable_credentials(location: Location) -> dict[str, Any]:
    try:
        return location.credentials
    except (CredentialsUnreadable, ImproperlyConfigured):
        return {}  # then no storage can have repeated them either


def _strings_in(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for member in value.values() for text in _strings_in(member)]
    if isinstance(value, list):
        return [text for member in value for text in _strings_in(member)]
    return [value] if isinstance(value, str) else []
