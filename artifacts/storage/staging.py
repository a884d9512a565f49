"""An upload on its way to an object store: collected into parts, each sent on while the next arrives."""

import io
import logging
import math
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from uuid import uuid4

from artifacts.digests import Digest
from artifacts.exceptions import ArtifactError
from artifacts.storage.base import Staged
from artifacts.storage.object_service import INCOMING, MAX_PARTS, PART_BYTES, ObjectService, Parts

_MIB = 1024**2
_STEP = 1000  # parts, after which they grow
_MAX_GROWTH = 4

logger = logging.getLogger(__name__)


def part_sizes(length: int | None) -> Iterator[int]:
    """The sizes of the parts of an upload of `length` bytes; of one of unknown length up to 265 GiB.

    Parts are equal when the length is known, for Cloudflare's R2 takes no others. Otherwise they grow up to
    32 MiB: an upload holds two of them in memory.
    """
    if length is not None:
        size = max(PART_BYTES, math.ceil(length / MAX_PARTS / _MIB) * _MIB)
        while True:
            yield size
    number = 0
    while True:
        yield PART_BYTES * min(1 + number // _STEP, _MAX_GROWTH)
        number += 1


class StagedObject(Staged):
    """Up to one part is kept in memory and put at `place`; more go on as parts while they arrive.

    Parts of a digest that is known go to its key; others to a temporary key, which is copied in the service.
    """

    def __init__(self, service: ObjectService, digest: Digest | None, length: int | None, file_name: str) -> None:
        self._service = service
        self._digest = digest
        self._file_name = file_name
        self._key = str(digest) if digest else f"{INCOMING}{uuid4()}"
        self._sizes = part_sizes(length)
        self._size = next(self._sizes)
        self._buffer = io.BytesIO()
        self._parts: Parts | None = None
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="upload")  # no thread before there is a part
        self._sending: Future[None] | None = None
        self._has_copy_source = False

    def write(self, block: bytes) -> None:
        view = memoryview(block)
        while view:
            if self._buffer.tell() == self._size:  # only now is it known not to be the last
                self._send()
            piece = view[: self._size - self._buffer.tell()]
            self._buffer.write(piece)
            view = view[len(piece) :]

    def _send(self) -> None:
        with self._service.errors():
            if self._parts is None:
                self._parts = self._service.begin(self._key, self._file_name)
            self._wait()
            self._sending = self._sender.submit(self._parts.add, self._take())
        self._size = next(self._sizes)

    def _take(self) -> bytes:
        part, self._buffer = self._buffer.getvalue(), io.BytesIO()
        return part

    def _wait(self) -> None:
        if self._sending is not None:
            sending, self._sending = self._sending, None
            sending.result()

    def place(self, digest: Digest, *, replace: bool = False) -> bool:
        if self._digest not in (None, digest):
            raise ValueError("The upload was staged as another artifact.")
        with self._service.errors():
            if self._parts is None:
                return self._service.put(str(digest), self._take(), self._file_name, replace=replace)
            self._wait()
            if self._digest:
                return self._complete(replace=replace)
            self._has_copy_source = True  # even if the answer is lost
            self._complete(replace=True)
            return self._service.copy(self._key, str(digest), self._file_name, replace=replace)

    def _complete(self, *, replace: bool) -> bool:
        if self._parts is None or not self._parts.complete(self._take(), replace=replace):
            return False
        self._parts = None
        return True

    def discard(self) -> None:
        """As far as the service lets us: what stays is swept later, and must not hide why the upload failed."""
        self._buffer = io.BytesIO()
        self._sender.shutdown()  # a part that arrived after the abort would stay
        try:
            with self._service.errors():
                if self._parts is not None:
                    self._parts.abort()
                if self._has_copy_source:
                    self._service.remove(self._key)
        except ArtifactError:
            logger.warning("An upload left something behind in its storage; it will be swept.", exc_info=True)
        self._parts, self._has_copy_source = None, False
