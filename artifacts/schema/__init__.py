"""The OpenAPI document of the transfer API. No transfer runs any of this: drf-spectacular asks for it."""

from collections.abc import Callable
from typing import Any

from artifacts.schema import security, transfers, tus  # noqa: F401  (drf-spectacular's extensions register themselves)

PATHS = ("/artifacts/", "/download/", "/uploads/")

_Endpoint = tuple[str, str, str, Callable[..., Any]]


def only_transfers(endpoints: list[_Endpoint]) -> list[_Endpoint]:
    """A preprocessing hook: what is described is what is described completely."""
    return [endpoint for endpoint in endpoints if endpoint[0].startswith(PATHS)]
