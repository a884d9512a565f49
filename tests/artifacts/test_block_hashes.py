"""Ranges and large downloads: verified block by block, from hashes recorded when the whole was verified."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from django.dispatch import Signal
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from artifacts import labels
from artifacts.block_hashes import HASHED_BLOCK, BlockHasher, blocks_of
from artifacts.digests import Digest
from artifacts.models import Artifact, BlockHashes, Location
from artifacts.storage import StoredObject
from artifacts.storage.filesystem import FileSystemStore
from artifacts.tokens import DOWNLOADER
from tests.factories import bearer, digest_of

pytestmark = pytest.mark.django_db

SIZE = 3 * HASHED_BLOCK + 1000
CONTENT = os.urandom(SIZE)
DIGEST = digest_of(CONTENT)
URL = f"/artifacts/{DIGEST}"

Sent = list[tuple[Signal, dict[str, Any]]]


@pytest.fixture
def path(client: Client, root: Path) -> Path:
    """Where CONTENT is stored, uploaded a moment ago."""
    assert client.put(URL, CONTENT, headers=bearer()).status_code == 201
    return root / "sha256" / DIGEST.hex[:2] / DIGEST.hex


@pytest.fixture
def read_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each read took from the storage."""
    taken: list[int] = []
    original = FileSystemStore.open

    class Counting:
        def __init__(self, file: Any) -> None:
            self.file = file
            self.close = file.close

        def read(self, size: int, /) -> bytes:
            block: bytes = self.file.read(size)
            taken.append(len(block))
            return block

    monkeypatch.setattr(FileSystemStore, "open", lambda *args: Counting(original(*args)))
    return taken


def get(client: Client, **headers: str) -> Any:
    return client.get(URL, headers={**bearer(DOWNLOADER), **headers})


@given(pieces=st.lists(st.integers(0, 3 * HASHED_BLOCK), max_size=5))
def test_hashes_are_those_of_the_blocks_however_the_bytes_come(pieces: list[int]) -> None:
    content = bytes(sum(pieces))
    hasher = BlockHasher()
    for piece in pieces:
        hasher.update(bytes(piece))
    blocks = [content[start : start + HASHED_BLOCK] for start in range(0, len(content), HASHED_BLOCK)]
    assert hasher.hashes == [blake3(block).digest() for block in blocks]


def test_upload_records_them_and_a_small_one_needs_none(client: Client, path: Path) -> None:
    row = BlockHashes.objects.get()
    assert len(bytes(row.hashes)) == 4 * 32
    client.put(f"/artifacts/{digest_of(b'small')}", b"small", headers=bearer())
    assert BlockHashes.objects.count() == 1


@pytest.mark.parametrize(
    ("spec", "span"),
    [
        ("bytes=0-0", range(1)),
        (f"bytes={HASHED_BLOCK - 1}-{HASHED_BLOCK}", range(HASHED_BLOCK - 1, HASHED_BLOCK + 1)),
        (f"bytes={2 * HASHED_BLOCK}-", range(2 * HASHED_BLOCK, SIZE)),
        ("bytes=-1", range(SIZE - 1, SIZE)),
        ("bytes=-1500", range(SIZE - 1500, SIZE)),
        (f"bytes=10-{SIZE + 99}", range(10, SIZE)),
    ],
)
def test_range_reads_the_blocks_it_touches_and_no_others(
    client: Client, path: Path, read_bytes: list[int], sent_signals: Sent, spec: str, span: range
) -> None:
    sent_signals.clear()
    answer = get(client, Range=spec)
    assert answer.status_code == 206
    assert answer["Content-Range"] == f"bytes {span.start}-{span.stop - 1}/{SIZE}"
    assert b"".join(answer) == CONTENT[span.start : span.stop]
    touched = blocks_of(span)
    assert sum(read_bytes) == min(SIZE, touched.stop * HASHED_BLOCK) - touched.start * HASHED_BLOCK
    assert [values["size_bytes"] for _, values in sent_signals] == [len(span)]


def test_resumed_download_sums_to_the_size(client: Client, path: Path, sent_signals: Sent) -> None:
    sent_signals.clear()
    start = HASHED_BLOCK + 7
    first = b"".join(get(client, Range=f"bytes=0-{start - 1}"))
    etag = client.head(URL, headers=bearer(DOWNLOADER))["ETag"]
    rest = b"".join(get(client, Range=f"bytes={start}-", **{"If-Range": etag}))
    assert first + rest == CONTENT
    assert sum(values["size_bytes"] for _, values in sent_signals) == SIZE


def damage(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))


def test_damage_inside_a_range_is_found_marked_and_healed(client: Client, path: Path) -> None:
    damage(path, 2 * HASHED_BLOCK + 5)
    answer = get(client, Range=f"bytes={2 * HASHED_BLOCK}-{2 * HASHED_BLOCK}")
    assert (answer.status_code, answer.json()["code"]) == (502, "artifact_corrupt")
    assert Artifact.objects.get().corrupt_at is not None
    assert get(client).status_code == 502
    healed = client.put(URL, CONTENT, headers=bearer())
    assert (healed.status_code, healed.json()["skipped"]) == (201, False)
    assert b"".join(get(client)) == CONTENT


def test_damage_outside_a_range_does_not_keep_it_from_being_served(client: Client, path: Path) -> None:
    damage(path, 5)
    assert b"".join(get(client, Range=f"bytes={HASHED_BLOCK}-")) == CONTENT[HASHED_BLOCK:]
    assert Artifact.objects.get().corrupt_at is None


@pytest.mark.parametrize("block", [0, 1, 2, 3])
def test_no_byte_of_a_damaged_block_leaves_and_no_event_is_made(
    client: Client, path: Path, sent_signals: Sent, block: int
) -> None:
    sent_signals.clear()
    damage(path, block * HASHED_BLOCK + 9)
    answer = get(client)
    pieces: list[bytes] = []
    if answer.status_code == 200:
        with pytest.raises(Exception, match="does not match"):
            pieces.extend(answer)
    received = b"".join(pieces)
    assert received == CONTENT[: len(received)]
    assert len(received) <= block * HASHED_BLOCK
    assert sent_signals == []


def test_without_hashes_a_range_is_verified_by_reading_all_and_they_are_learned(
    client: Client, path: Path, read_bytes: list[int]
) -> None:
    Artifact.objects.all().delete()  # as in a bucket that others wrote
    assert b"".join(get(client, Range="bytes=-10")) == CONTENT[-10:]
    assert sum(read_bytes) == SIZE
    read_bytes.clear()
    assert b"".join(get(client, Range="bytes=-10")) == CONTENT[-10:]
    assert sum(read_bytes) == 1000


def test_what_is_learned_of_a_bucket_that_others_wrote_keeps_the_name_they_gave(
    client: Client, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Artifact.objects.all().delete()
    stat = FileSystemStore.stat

    def stat_with_name(store: FileSystemStore, digest: Digest) -> StoredObject | None:
        found = stat(store, digest)
        return found and replace(found, file_name="theirs.tar")

    monkeypatch.setattr(FileSystemStore, "stat", stat_with_name)
    for _ in range(2):
        answer = get(client)
        assert answer["Content-Disposition"] == 'attachment; filename="theirs.tar"'
        assert b"".join(answer) == CONTENT
    assert Artifact.objects.get().file_name == "theirs.tar"


def test_hashes_of_a_very_large_artifact_are_found_by_their_rows(
    location: Location, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Callable[..., Any]
) -> None:
    monkeypatch.setattr(labels, "_PER_ROW", 4)
    artifact = Artifact.objects.create(location=location, digest=DIGEST.hex, size_bytes=10 * HASHED_BLOCK)
    hashes = [bytes([number]) * 32 for number in range(10)]
    labels.put_hashes(artifact.pk, hashes)
    label = labels.find(location, DIGEST)
    assert label is not None
    assert BlockHashes.objects.count() == 3
    for first, last in [(0, 9), (3, 4), (4, 7), (9, 9), (2, 8)]:
        span = range(first * HASHED_BLOCK, (last + 1) * HASHED_BLOCK)
        with django_assert_num_queries(1):
            assert labels.find_hashes(label, span) == hashes[first : last + 1]
    BlockHashes.objects.filter(number=1).delete()
    assert labels.find_hashes(label, range(3 * HASHED_BLOCK, 9 * HASHED_BLOCK)) is None
