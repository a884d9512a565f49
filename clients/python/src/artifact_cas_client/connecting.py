"""A connection that can be given up at any time, also while it is being made: each part of that may take a minute."""

import errno
import http.client
import os
import queue
import selectors
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Any

from artifact_cas_client.addresses import Server
from artifact_cas_client.errors import Cancelled

_SLICE = 0.2  # seconds between two looks at whether it is still wanted
_UNDER_WAY = {errno.EINPROGRESS, errno.EWOULDBLOCK}
_PROBES = 4

_Address = tuple[Any, ...]  # of getaddrinfo


class Connection(http.client.HTTPConnection):
    """`timeout` in seconds: for making it, for each address of the server, and then between any two bytes."""

    def __init__(self, server: Server, timeout: float, tls: ssl.SSLContext | None, cancelled: threading.Event) -> None:
        super().__init__(server.host, server.port, timeout=timeout)
        if tls is not None:
            self.default_port = http.client.HTTPS_PORT
        self._seconds = timeout
        self._tls = tls
        self._cancelled = cancelled

    def connect(self) -> None:
        """Raises OSError, Cancelled."""
        self.sock = self._reach()
        if self._tls is not None:
            # Not within `wrap_socket`, of which `interrupt` could not see the socket.
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
            self.check()
            self.sock.do_handshake()

    def check(self) -> None:
        """Raises Cancelled."""
        if self._cancelled.is_set():
            raise Cancelled("The transfer was cancelled.")

    def interrupt(self) -> None:
        """Fail what another thread is doing with it."""
        if self.sock is not None:
            with suppress(OSError):
                # A TLS socket's own `shutdown` ends TLS first: the thread could send its next bytes in the clear.
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def _reach(self) -> socket.socket:
        failure = OSError(f"{self.host} has no address")
        for address in self._look_up():
            try:
                return self._connect_to(address)
            except OSError as error:
                failure = error
        raise failure

    def _look_up(self) -> list[_Address]:
        """By a thread that is left behind when it takes too long: nothing interrupts the system's resolver."""
        found: queue.SimpleQueue[list[_Address] | Exception] = queue.SimpleQueue()

        def ask() -> None:
            try:
                found.put(list(socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)))
            except (OSError, UnicodeError) as error:
                found.put(error)

        threading.Thread(target=ask, name="resolver", daemon=True).start()
        while True:
            self.check()
            with suppress(queue.Empty):
                answer = found.get(timeout=_SLICE)
                break
        if isinstance(answer, list):
            return answer
        if isinstance(answer, UnicodeError):
            raise OSError(f"{self.host} is no name of a host") from answer
        raise answer

    def _connect_to(self, address: _Address) -> socket.socket:
        family, kind, protocol, _, where = address
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(0)
            code = sock.connect_ex(where)
            if code in _UNDER_WAY:
                self._await(sock)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
            sock.settimeout(self._seconds)
            _tune(sock, self._seconds)
        except BaseException:
            sock.close()
            raise
        return sock

    def _await(self, sock: socket.socket) -> None:
        deadline = time.monotonic() + self._seconds
        with selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_WRITE)
            while not selector.select(min(_SLICE, self._seconds)):
                self.check()
                if time.monotonic() > deadline:
                    raise TimeoutError


def _tune(sock: socket.socket, seconds: float) -> None:
    """Nothing is held back to be sent together; and a machine that has gone is found out while it is waited for."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle = min(3600, max(1, round(seconds / 2)))
    between = max(1, idle // _PROBES)
    for name, value in {
        "TCP_KEEPIDLE": idle,
        "TCP_KEEPALIVE": idle,  # macOS's name for it
        "TCP_KEEPINTVL": between,
        "TCP_KEEPCNT": _PROBES,
    }.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
