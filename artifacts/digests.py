"""SHA-256 digests, and the reader that verifies bytes while they pass. Pure: no Django."""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, Self

from artifacts.exceptions import DigestMismatch, IncompleteBody, InvalidDigest, TooLarge

BLOCK_SIZE = 256 * 1024  # bytes; larger blocks were no faster, and each transfer holds a few

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Digest:
    """The SHA-256 that names an artifact; `hex` is 64 lower-case hexadecimal digits."""

    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `sha256:<hex>`; raise InvalidDigest for anything else."""
        match = _DIGEST.fullmatch(text)
        if match is None:
            raise InvalidDigest
        return cls(match[1])

    def __str__(self) -> str:
        return f"sha256:{self.hex}"

    def as_structured_field(self) -> str:
        """The digest as a member of `Repr-Digest` (RFC 9530, section 3)."""
        return f"sha-256=:{base64.b64encode(bytes.fromhex(self.hex)).decode()}:"


def digests_among(names: Iterable[str], after: str = "") -> Iterator[Digest]:
    """Those of the names that are `sha256:<hex>` with a greater hex than `after`, in the order they come."""
    for name in names:
        with suppress(InvalidDigest):  # some other file
            digest = Digest.parse(name)
            if digest.hex > after:
                yield digest


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Updatable(Protocol):
    def update(self, piece: bytes, /) -> object: ...


class VerifyingReader:
    """Reads a stream in blocks while counting and hashing, and raises unless it turns out as expected.

    Iterate it once. The last block is yielded before the verdict, so whoever hands blocks on keeps the
    last one back until iteration has ended.

    `expected` is the digest the bytes must have, `length` how many bytes there must be, and `limit` how
    many there may be (0: any number). `also` is told of every block.
    """

    def __init__(
        self,
        stream: Readable,
        *,
        expected: Digest | None = None,
        length: int | None = None,
        limit: int = 0,
        also: Updatable | None = None,
    ) -> None:
        self._stream = stream
        self._expected = expected
        self._length = length
        self._limit = limit
        self._also = also
        self._sha256 = hashlib.sha256()
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        """Yield the blocks; raise TooLarge, IncompleteBody or DigestMismatch."""
        while (wanted := self._next_size()) and (block := self._stream.read(wanted)):
            self.size += len(block)
            if self._limit and self.size > self._limit:
                raise TooLarge(f"The artifact is larger than the {self._limit} bytes allowed.")
            self._sha256.update(block)
            if self._also is not None:
                self._also.update(block)
            yield block
        if self._length is not None and self.size != self._length:
            raise IncompleteBody(f"The body ended after {self.size} of {self._length} bytes.")
        if self._expected is not None and self.digest != self._expected:
            raise DigestMismatch(f"The body's digest is {self.digest}.")

    def _next_size(self) -> int:
        # Never ask for more than was announced: some WSGI servers would wait for it for ever.
        return BLOCK_SIZE if self._length is None else min(BLOCK_SIZE, self._length - self.size)

    @property
    def digest(self) -> Digest:
        """The digest of what was read so far."""
        return Digest(self._sha256.hexdigest())
