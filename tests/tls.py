"""TLS before a server that knows none."""

import asyncio
import ssl
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers import accepts, free_port, wait_until


class TlsFront:
    """Listens on a port of 127.0.0.1 with a certificate, and passes on to another port what it decrypts."""

    def __init__(self, target: int, certificate: Path, key: Path) -> None:
        self.port = free_port()
        self._target = target
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate, key)
        self._stop: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: accepts(self.port), what="TLS is listened for")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()
        self._thread.join()

    async def _run(self) -> None:
        stopped = asyncio.Event()
        self._stop = partial(asyncio.get_running_loop().call_soon_threadsafe, stopped.set)
        await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._context)
        await stopped.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_connection("127.0.0.1", self._target)
        await asyncio.gather(_pump(reader, requests), _pump(answers, writer))


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
    target.close()
