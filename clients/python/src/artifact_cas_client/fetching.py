"""The bytes of an artifact, over as many connections as it takes."""

import hashlib
import io
from contextlib import ExitStack
from http import HTTPStatus
from typing import TYPE_CHECKING

from artifact_cas_client.errors import BadAnswer, CasError, DigestMismatch
from artifact_cas_client.exchange import BLOCK
from artifact_cas_client.file_names import proposed_name
from artifact_cas_client.retrying import Backoff
from artifact_cas_client.transport import Answer, Transport

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Fetch:
    """Reads on with a range of the same artifact (`If-Range`) where a connection broke off."""

    def __init__(self, transport: Transport, backoff: Backoff, digest: str, offset: int = 0) -> None:
        self.offset = offset
        self.size: int | None = None
        self.proposed_name = ""
        self._transport = transport
        self._backoff = backoff
        self._digest = digest
        self._answer: Answer | None = None
        self._connection = ExitStack()

    def open(self) -> None:
        """Send the request, so that size and name are known; raises CasError."""
        while self._answer is None:
            try:
                self._open()
            except CasError as error:
                self._fail(error)

    def read(self, size: int = BLOCK) -> bytes:
        """The next bytes, b"" at the end. They are not verified; raises CasError."""
        while True:
            self.open()
            try:
                assert self._answer is not None  # noqa: S101
                block = self._answer.read(size)
            except CasError as error:
                self._fail(error)
                continue
            if block:
                self._backoff.reset()
            self.offset += len(block)
            return block

    def close(self) -> None:
        self._answer = None
        self._connection.close()

    def _open(self) -> None:
        headers = {}
        if self.offset:
            headers = {"Range": f"bytes={self.offset}-", "If-Range": f'"{self._digest}"'}
        answer = self._connection.enter_context(self._transport.request("GET", f"/artifacts/{self._digest}", headers))
        start = self.offset if answer.status == HTTPStatus.PARTIAL_CONTENT else 0
        if start and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise BadAnswer("The server answers another range than it was asked for.")
        if answer.length is not None:
            self.size = start + answer.length
        self.proposed_name = proposed_name(answer.headers.get("Content-Disposition", ""))
        while start < self.offset:  # all of it again
            block = answer.read(min(BLOCK, self.offset - start))
            if not block:
                raise BadAnswer("The artifact is shorter than it was.")
            start += len(block)
        self._answer = answer

    def _fail(self, error: CasError) -> None:
        self.close()
        self._backoff.wait(error)


class VerifiedStream(io.RawIOBase):
    """An artifact as a file that can be read once. At its end, raises DigestMismatch when it was not the artifact:
    what has been read till then must not be believed."""

    def __init__(self, fetch: Fetch, digest: str) -> None:
        self._fetch = fetch
        self._digest = digest
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        block = self._fetch.read(len(view)) if len(view) else b""
        if not block and len(view):
            check_digest(self._hash.hexdigest(), self._digest)
        self._hash.update(block)
        view[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._fetch.close()
        super().close()


def check_digest(hexdigest: str, digest: str) -> None:
    """Raises DigestMismatch."""
    if f"sha256:{hexdigest}" != digest:
        raise DigestMismatch(f"What came is sha256:{hexdigest}, and not {digest}.")
