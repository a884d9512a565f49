"""Digests, and the reader that verifies while bytes pass."""

import io
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.digests import BLOCK_SIZE, Digest, VerifyingReader
from artifacts.exceptions import DigestMismatch, IncompleteBody, InvalidDigest, TooLarge
from tests.factories import digest_of

HEX = sha256(b"").hexdigest()


def test_digest_reads_what_it_writes() -> None:
    assert Digest.parse(f"sha256:{HEX}") == Digest(HEX)
    assert str(Digest(HEX)) == f"sha256:{HEX}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEX,
        f"sha256:{HEX.upper()}",
        f"SHA256:{HEX}",
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX}\n",
        f" sha256:{HEX}",
        f"sha512:{HEX}",
        "sha256:" + "g" * 64,
        "sha256:" + "٣" * 64,
    ],
)
def test_anything_else_is_no_digest(text: str) -> None:
    with pytest.raises(InvalidDigest):
        Digest.parse(text)


def test_structured_field_is_base64_between_colons() -> None:
    assert Digest(HEX).as_structured_field() == "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"


class Stream(io.BytesIO):
    """Remembers how much it was asked for, and gives at most `most` bytes at a time."""

    def __init__(self, content: bytes, most: int = BLOCK_SIZE) -> None:
        super().__init__(content)
        self.asked: list[int] = []
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        self.asked.append(size)
        return super().read(min(size, self._most))


@given(content=st.binary(max_size=2000), most=st.integers(min_value=1, max_value=700))
def test_blocks_add_up_however_they_come(content: bytes, most: int) -> None:
    reader = VerifyingReader(Stream(content, most), expected=digest_of(content), length=len(content))
    assert b"".join(reader) == content
    assert (reader.size, reader.digest) == (len(content), digest_of(content))


def test_no_more_is_asked_for_than_was_announced() -> None:
    stream = Stream(b"x" * (BLOCK_SIZE + 10) + b"the next request")
    reader = VerifyingReader(stream, length=BLOCK_SIZE + 10)
    assert sum(map(len, reader)) == BLOCK_SIZE + 10
    assert stream.asked == [BLOCK_SIZE, 10]


def test_short_stream_is_incomplete() -> None:
    reader = VerifyingReader(Stream(b"1234"), length=5)
    with pytest.raises(IncompleteBody, match="after 4 of 5 bytes"):
        list(reader)


def test_short_stream_is_incomplete_rather_than_mismatching() -> None:
    reader = VerifyingReader(Stream(b"1234"), length=5, expected=digest_of(b"12345"))
    with pytest.raises(IncompleteBody):
        list(reader)


def test_other_bytes_are_a_mismatch_after_all_of_them() -> None:
    reader = VerifyingReader(Stream(b"1234"), expected=digest_of(b"1235"))
    blocks: list[bytes] = []
    with pytest.raises(DigestMismatch, match=str(digest_of(b"1234"))):
        blocks.extend(reader)
    assert blocks == [b"1234"]


def test_more_than_the_limit_is_too_large_before_it_is_handed_on() -> None:
    reader = VerifyingReader(Stream(b"12345", most=2), limit=4)
    blocks: list[bytes] = []
    with pytest.raises(TooLarge):
        blocks.extend(reader)
    assert blocks == [b"12", b"34"]


def test_the_limit_itself_is_allowed() -> None:
    assert b"".join(VerifyingReader(Stream(b"1234"), limit=4)) == b"1234"


@given(st.text())
def test_text_is_a_digest_only_if_it_is_what_that_digest_writes(text: str) -> None:
    for candidate in (text, f"sha256:{text}"):
        try:
            assert str(Digest.parse(candidate)) == candidate
        except InvalidDigest:
            continue


@given(content=st.binary(min_size=1, max_size=300), flipped=st.integers(0, 299), most=st.integers(1, 200))
def test_one_changed_bit_anywhere_is_a_mismatch(content: bytes, flipped: int, most: int) -> None:
    place = flipped % len(content)
    changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    with pytest.raises(DigestMismatch):
        list(VerifyingReader(Stream(changed, most), expected=digest_of(content), length=len(content)))


@given(content=st.binary(max_size=300), limit=st.integers(1, 300), most=st.integers(1, 200))
def test_nothing_past_the_limit_is_ever_handed_on(content: bytes, limit: int, most: int) -> None:
    handed_on = b""
    try:
        for block in VerifyingReader(Stream(content, most), limit=limit):
            handed_on += block
    except TooLarge:
        assert len(content) > limit
        assert len(handed_on) <= limit
    else:
        assert handed_on == content
        assert len(content) <= limit
