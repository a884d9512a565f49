"""The way in for programs."""

import io
import os
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

from artifact_cas_client.addresses import Server, token_source
from artifact_cas_client.digests import parse_digest
from artifact_cas_client.downloading import Downloader
from artifact_cas_client.errors import BadAnswer, CasError
from artifact_cas_client.fetching import Fetch, VerifiedStream
from artifact_cas_client.placed import Placed
from artifact_cas_client.progress import Progress, Silent
from artifact_cas_client.results import Description, Download, Upload
from artifact_cas_client.resume_cache import ResumeCache, default_folder
from artifact_cas_client.retrying import Backoff
from artifact_cas_client.sources import Source
from artifact_cas_client.transport import Transport
from artifact_cas_client.uploading import upload

RESUMABLE_FROM = 64 * 1024**2  # bytes

AnyPath = str | os.PathLike[str]


class Client:
    """Talks to one server; may be shared by threads.

    `token` is a JWT, or what gives one for each request, for tokens that live shorter than the client. A failed
    connection and an answer that says "later" are tried again, `retries` times in a row; what has come so far is
    kept. `timeout` (seconds) is how long the server may be silent. Files of `resumable_from` bytes and more are
    uploaded so that they can be resumed, also by another process: `cache` is the folder that remembers them.
    """

    def __init__(
        self,
        server: str,
        token: str | Callable[[], str],
        *,
        retries: int = 5,
        timeout: float = 60.0,
        resumable_from: int = RESUMABLE_FROM,
        cache: AnyPath | None = None,
        tls: ssl.SSLContext | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Raises ConfigurationError."""
        self._transport = Transport(Server.parse(server), token_source(token), timeout=timeout, tls=tls)
        self._retries = retries
        self._resumable_from = max(1, resumable_from)  # nothing at all is sent at once
        self._cache = ResumeCache(Path(cache) if cache is not None else default_folder())
        self._progress = progress or Silent()
        self._placed = Placed()
        self._turns: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()  # by digest, while they last
        self._asking = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Break off what other threads are doing: their calls raise Cancelled. What can be resumed later stays."""
        self._transport.close()

    @property
    def is_closed(self) -> bool:
        return self._transport.cancelled.is_set()

    def upload(self, path: AnyPath, *, file_name: str | None = None) -> Upload:
        """Store a file, under its own name when `file_name` is None; raises CasError, OSError."""
        source = Source.read(Path(path), file_name, self._transport.cancelled)
        self._progress.begin(source.size)
        with self._asking:
            turn = self._turns.setdefault(source.digest, threading.Lock())
        with turn:  # a copy has it skipped, not sent twice
            return upload(self._transport, source, self._cache, self._backoff(), self._progress, self._resumable_from)

    def download(self, digest: str, path: AnyPath | None = None, *, force: bool = False) -> Download:
        """Fetch an artifact into a file, or into a folder under the name the server has for it.

        The file appears when its bytes are verified. Until then they are in a part file beside it, with which
        the next call goes on when this one breaks off. `force` overwrites a file, but under a name of the server's
        not another artifact that this client has downloaded. Raises CasError, FileExistsError, other OSErrors.
        """
        target = None if path is None else Path(path)
        digest = parse_digest(digest)
        return Downloader(
            self._transport, self._backoff(), self._progress, self._placed, digest, target, force=force
        ).run()

    def open(self, digest: str) -> io.BufferedReader:
        """Read an artifact as a file; close it. At the end of what was not the artifact it raises DigestMismatch."""
        digest = parse_digest(digest)
        fetch = Fetch(self._transport, self._backoff(), digest)
        fetch.open()
        return io.BufferedReader(VerifiedStream(fetch, digest), 1024**2)

    def describe(self, digest: str) -> Description:
        """What the server knows of an artifact; raises CasError."""
        digest = parse_digest(digest)
        backoff = self._backoff()
        while True:
            try:
                with self._transport.request("GET", f"/artifacts/{digest}/describe") as answer:
                    content = answer.json()
                break
            except CasError as error:
                backoff.wait(error)
        try:
            return Description(
                digest=parse_digest(content["digest"]),
                size_bytes=int(content["size_bytes"]),
                file_name=str(content["file_name"]),
                created_at=str(content["created_at"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BadAnswer("The server describes no artifact.") from error

    def _backoff(self) -> Backoff:
        return Backoff(self._retries, self._transport.cancelled)
