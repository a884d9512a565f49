"""HTTP sessions for the clients of services that use requests."""

import io
import re
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from artifacts.storage.hosts import guarded

CONNECTIONS = 64  # kept open: the threads of a web process
_SEND_BYTES = 128 * 1024
_QUERY = re.compile(r"\?[^\s'\")]*")

POOLS = {"http": guarded(HTTPConnectionPool), "https": guarded(HTTPSConnectionPool)}


class _Adapter(HTTPAdapter):
    """Sends a body piece by piece.

    Sent at once, all of it would have to be taken within the timeout of a connection attempt, as the socket
    counts it. Retries are left to the vendors' clients.
    """

    def __init__(self) -> None:
        super().__init__(pool_maxsize=CONNECTIONS, max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, blocksize=_SEND_BYTES)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*arguments, **options)
        manager.pool_classes_by_scheme = POOLS
        return manager

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        if isinstance(request.body, bytes):
            request.body = io.BytesIO(request.body)  # type: ignore[assignment]
        try:
            return super().send(request, *arguments, **options)
        except requests.RequestException as error:
            # Its text may hold the whole address: Azure's signatures and Google's uploads give access by theirs.
            raise type(error)(_QUERY.sub("?…", str(error)), request=request) from None


def prepare(session: requests.Session) -> requests.Session:
    """The session, made fit for parts of many MiB from many threads."""
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter())
    return session
