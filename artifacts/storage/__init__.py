"""From a location to the store that keeps its bytes: stage, verify, place; size; open."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from artifacts import credentials
from artifacts.exceptions import StorageError
from artifacts.storage.backends import find_backend
from artifacts.storage.base import ObjectReader, Partial, Staged, Store, StoredObject
from artifacts.storage.hosts import check_options

if TYPE_CHECKING:
    from artifacts.models import Location

__all__ = ["ObjectReader", "Partial", "Staged", "Store", "StoredObject", "open_store"]


def open_store(location: Location) -> Store:
    """The store of a location; kept, with its connections, for as long as the location is not changed.

    Raises StorageError when the location's settings do not make a store.
    """
    return _build(location.backend, json.dumps(location.options), location.encrypted_credentials)


@lru_cache(maxsize=1000)
def _build(backend_name: str, options: str, encrypted_credentials: str) -> Store:
    try:
        secret: dict[str, Any] = credentials.decrypt(encrypted_credentials) if encrypted_credentials else {}
        everything = json.loads(options) | secret
        check_options(everything)
        return find_backend(backend_name).make_store(everything)
    except Exception as error:  # each storage class has its own way of refusing its options
        raise StorageError("The location's settings are wrong.") from error
