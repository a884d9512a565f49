"""The spine: upload, find, read. No HTTP here, and no audit: signals tell who listens."""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

import django.db
from django.conf import settings
from django.dispatch import Signal
from django.utils import timezone

from artifacts import labels, late_labels, quota
from artifacts.block_hashes import HASHED_BLOCK, BlockHasher, blocks_of, read_verified
from artifacts.digests import Digest, VerifyingReader
from artifacts.exceptions import (
    ArtifactCorrupt,
    ArtifactNotFound,
    DigestMismatch,
    IncompleteBody,
    StorageError,
    TooLarge,
)
from artifacts.labels import Label
from artifacts.locations import find_location
from artifacts.models import Artifact, Location
from artifacts.signals import artifact_deduplicated, artifact_downloaded, artifact_uploaded
from artifacts.storage import ObjectReader, Staged, StoredObject, open_store
from artifacts.storage.errors import storage_errors
from artifacts.tokens import UPLOADER, Grant
from common import group_commit
from common.group_commit import CommitTimeout, Ticket

logger = logging.getLogger(__name__)

# Bytes that are answered at once, after which no thread waits for the client: what a socket's own buffer may hold.
AT_ONCE = 64 * 1024

# Bytes of the largest upload, whatever the limits: its announced length says how large the parts in memory are. It is
# the largest object of S3-compatible services; Amazon S3 takes more since 2025 (its guide, "multipart upload limits").
LARGEST = 5 * 1024**4


class Source(Protocol):
    """Bytes to be stored; `length` is how many there must be, None when nobody said."""

    @property
    def length(self) -> int | None: ...

    def read(self, size: int, /) -> bytes: ...


class Body(Source, Protocol):
    """An upload on the wire."""

    def drain(self, limit: int, /) -> None:
        """Let the client finish sending, if it sends at all; raises IncompleteBody, TooLarge (0: no limit)."""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The outcome of an upload; `skipped` when the artifact was there."""

    digest: Digest
    size_bytes: int
    file_name: str
    skipped: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """An artifact as the storage has it; `label` is what the database knows of it, if it does."""

    location: Location
    digest: Digest
    object: StoredObject
    label: Label | None
    is_label_known: bool = True  # False when the database did not say whether there is one

    @property
    def size_bytes(self) -> int:
        return self.object.size_bytes

    @property
    def is_sound(self) -> bool:
        """False when its bytes are known not to match its digest."""
        return self.label is None or (not self.label.is_corrupt and self.label.size_bytes == self.size_bytes)

    @property
    def file_name(self) -> str:
        return self.label.file_name if self.label else self.object.file_name

    @property
    def created_at(self) -> datetime:
        return labels.created_at(self.label) if self.label else self.object.modified_at


def upload(grant: Grant, body: Body, file_name: str, digest: Digest | None = None) -> Uploaded:
    """Store a body, or find that it is stored already; without `digest`, the body alone tells which it is.

    The artifact can be seen by others once its bytes matched and the storage has them durably. Raises
    TooLarge, IncompleteBody, DigestMismatch, StorageFull, and what locations and storages raise.
    """
    location = find_location(grant)
    limit = upload_limit(grant)
    check_length(body.length, limit)
    stored = find_stored(location, digest) if digest else None
    # Of an object without a label, nothing but the length that was announced can tell that it is cut off.
    is_cut_off = stored is not None and stored.label is None and body.length not in {None, stored.size_bytes}
    if digest and stored and not is_cut_off and may_stay(stored):
        if location.proof_of_possession:
            _prove(body, digest, limit)
        else:
            body.drain(limit)
        return record_skipped(grant, stored, file_name)
    # Else it may be there, or take the place of what is. Where possession must be proved, a refusal would tell which.
    if digest and stored is None and not location.proof_of_possession:
        quota.check_room(location, body.length or 0)
    staged = open_store(location).stage(digest, body.length, file_name)
    return commit(grant, location, staged, body, file_name, digest=digest, stored=stored, limit=limit)


def commit(
    grant: Grant,
    location: Location,
    staged: Staged,
    source: Source,
    file_name: str,
    *,
    digest: Digest | None,
    stored: Stored | None,
    limit: int = 0,
    before_placing: Callable[[], object] | None = None,
    before_event: Callable[[Uploaded], object] | None = None,
    event_id: UUID | None = None,
) -> Uploaded:
    """The way every upload ends: its bytes pass into `staged`, verified, and are placed and recorded.

    `stored` is what is there under `digest`, and not sound; without `digest` it is looked for when the bytes
    have told theirs. `before_placing` is called when the bytes are verified and not there; what it raises is raised,
    and nothing is placed. `before_event` is called with the outcome when only the event is left to come: what it gives
    to `group_commit.defer` is committed together with that or after it. `event_id` is for an upload that may end twice,
    and is to be told once. Raises what `upload` raises.
    """
    hasher = BlockHasher()
    with staged:
        reader = VerifyingReader(source, expected=digest, length=source.length, limit=limit, also=hasher)
        for block in reader:
            staged.write(block)
        if digest is None:
            stored = find_stored(location, reader.digest)
        is_there = stored is not None and stored.size_bytes == reader.size and may_stay(stored)
        if before_placing and not is_there:
            before_placing()
        is_placed = not is_there and _place(location, staged, reader, is_replacing=stored is not None)

    if is_placed:
        outcome = Uploaded(reader.digest, reader.size, file_name, skipped=False)
        if before_event:
            before_event(outcome)
        _record_stored(grant, location, outcome, hasher, event_id, is_replacing=stored is not None)
        return outcome
    # Else it was there, or a twin upload was placed first, perhaps over what was found corrupt.
    twin = stored if is_there else find_stored(location, reader.digest)
    if twin is None:  # placed, and already gone again
        raise StorageError("The storage did not keep the artifact.")
    return record_skipped(grant, twin, file_name, before_event=before_event, event_id=event_id)


def may_stay(stored: Stored) -> bool:
    """Whether an upload may count on what is there; when the database does not say, its bytes do."""
    if stored.is_label_known or not stored.is_sound:
        return stored.is_sound
    try:
        with closing(open_store(stored.location).open(stored.digest)) as file, storage_errors():
            for _ in VerifyingReader(file, expected=stored.digest, length=stored.size_bytes):
                pass  # only the end tells
    except (ArtifactNotFound, DigestMismatch, IncompleteBody):
        return False
    return True


def _prove(body: Body, digest: Digest, limit: int) -> None:
    for _ in VerifyingReader(body, expected=digest, length=body.length, limit=limit):
        pass  # only the end tells


def _place(location: Location, staged: Staged, reader: VerifyingReader, *, is_replacing: bool) -> bool:
    if is_replacing:
        return staged.place(reader.digest, replace=True)
    with quota.reserved(location, reader.size) as room:
        is_placed = staged.place(reader.digest)
        if is_placed:
            room.keep()
    return is_placed


def find(grant: Grant, digest: Digest) -> Stored:
    """The artifact, in the location the token names; raises ArtifactNotFound, LocationNotFound, WrongOrganization.

    Where possession must be proved, an uploader finds nothing: it learns by uploading.
    """
    location = find_location(grant)
    if location.proof_of_possession and grant.role == UPLOADER:
        raise ArtifactNotFound
    stored = find_stored(location, digest)
    if stored is None:
        raise ArtifactNotFound
    return stored


def find_stored(location: Location, digest: Digest) -> Stored | None:
    """Ask the storage, which decides: a bucket that others wrote is served as it is.

    Raises StorageError, and django.db.Error where nothing goes without the database.
    """
    found = open_store(location).stat(digest)
    if found is None:
        return None
    try:
        return Stored(location, digest, found, labels.find(location, digest))
    except django.db.Error:
        if not settings.CAS_WITHOUT_DATABASE_SECONDS:
            raise
        return Stored(location, digest, found, None, is_label_known=False)


def read(grant: Grant, stored: Stored, span: range, file_name: str) -> bytes | Iterator[bytes]:
    """The bytes in `span`, verified and their event kept; in pieces, of which that is true when the last one comes.

    All at once when there are few. Raises ArtifactCorrupt: at once when the artifact is small or known to be
    corrupt, else while iterated.
    """
    return read_by(
        stored, span, lambda: _send(artifact_downloaded, grant, stored.digest, len(span), file_name or stored.file_name)
    )


def read_by(stored: Stored, span: range, at_end: Callable[[], object]) -> bytes | Iterator[bytes]:
    """As `read`, but `at_end` is called in place of the event: all is verified, and the last piece is yet to leave."""
    if not stored.is_sound:
        raise ArtifactCorrupt
    pieces = _read(stored, span, at_end)
    if len(span) <= AT_ONCE:
        return b"".join(pieces)
    first = next(pieces, b"")

    def resume() -> Iterator[bytes]:
        with closing(pieces):
            yield first
            yield from pieces

    return resume()


def _read(stored: Stored, span: range, at_end: Callable[[], object]) -> Generator[bytes]:
    with storage_errors():
        held = b""
        try:
            for piece in _verified(stored, span):
                if held:
                    yield held
                held = piece
        except (ArtifactCorrupt, DigestMismatch, IncompleteBody) as error:
            _mark_corrupt(stored)
            raise ArtifactCorrupt from error
    at_end()  # before the last piece, so that nothing can come between a client that has all of it and its event
    if held:
        yield held


def _verified(stored: Stored, span: range) -> Iterator[bytes]:
    """Pieces of a span; when the last has come, all are verified. Whoever iterates keeps one back until then."""
    hashes = _find_hashes(stored, span)
    start = blocks_of(span).start * HASHED_BLOCK if hashes else 0
    with closing(open_store(stored.location).open(stored.digest, start)) as file:
        if hashes:
            yield from read_verified(file, stored.size_bytes, span, hashes)
        else:
            yield from _read_whole(stored, file, span)


def _find_hashes(stored: Stored, span: range) -> list[bytes] | None:
    """Those that verify a span; None when there are none, or the database does not say: its SHA-256 will."""
    if stored.label is None or stored.size_bytes <= HASHED_BLOCK:
        return None
    try:
        return labels.find_hashes(stored.label, span)
    except django.db.Error:
        if not settings.CAS_WITHOUT_DATABASE_SECONDS:
            raise
        return None


def _read_whole(stored: Stored, file: ObjectReader, span: range) -> Iterator[bytes]:
    """Verified by SHA-256, which takes all of it; block hashes are recorded on the way, for the next time."""
    hasher = BlockHasher() if stored.size_bytes > HASHED_BLOCK and stored.is_label_known else None
    yield from _cut(VerifyingReader(file, expected=stored.digest, length=stored.size_bytes, also=hasher), span)
    if hasher:
        try:
            if stored.label is None:  # uploads count on what is labelled
                open_store(stored.location).settle(stored.digest)
            labels.mark_sound(stored.location, stored.digest, stored.object, stored.label, hasher.hashes)
        except (django.db.Error, StorageError):
            logger.exception("The block hashes of artifact %s could not be recorded", stored.digest)


def _cut(blocks: Iterable[bytes], span: range) -> Iterator[bytes]:
    offset = 0
    for block in blocks:
        piece = block[max(0, span.start - offset) : max(0, span.stop - offset)]
        offset += len(block)
        if piece:
            yield piece


def server_limit() -> int:
    """How many bytes an upload may have, whatever its token allows."""
    return min(settings.CAS_MAX_UPLOAD_BYTES or LARGEST, LARGEST)


def upload_limit(grant: Grant) -> int:
    """How many bytes an upload may have."""
    return min(grant.max_bytes or LARGEST, server_limit())


def check_length(length: int | None, limit: int) -> None:
    """Raise TooLarge when more bytes are announced than the limit allows."""
    if length is not None and length > limit:
        raise TooLarge(f"The artifact is larger than the {limit} bytes allowed.")


def _record_stored(
    grant: Grant,
    location: Location,
    outcome: Uploaded,
    hasher: BlockHasher,
    event_id: UUID | None,
    *,
    is_replacing: bool,
) -> None:
    digest, size, file_name = outcome.digest, outcome.size_bytes, outcome.file_name
    stored_at = timezone.now()
    ticket = labels.put(location, digest, size, file_name, stored_at, hasher.hashes if size > HASHED_BLOCK else [])
    _send(artifact_uploaded, grant, digest, size, file_name, event_id)
    if not _is_recorded(ticket, digest):
        late_labels.keep(location, digest.hex, size, file_name, stored_at, is_replacing=is_replacing)


def record_skipped(
    grant: Grant,
    stored: Stored,
    file_name: str,
    *,
    before_event: Callable[[Uploaded], object] | None = None,
    event_id: UUID | None = None,
) -> Uploaded:
    """An upload of what is there already: told to who listens, and labelled if it was not, or no longer missing.

    `before_event` and `event_id` are as in `commit`. Raises StorageError.
    """
    ticket, label = None, stored.label
    # Its upload may have broken off before it was durable, or be about to.
    if label is None or not label.is_of(stored.object):
        open_store(stored.location).settle(stored.digest)
    if label is None and stored.is_label_known:
        ticket = labels.put_missing(stored.location, stored.digest, stored.object, file_name)
    elif label is not None and label.is_missing:
        _mark_found(stored, label)
    outcome = Uploaded(stored.digest, stored.size_bytes, file_name or stored.file_name, skipped=True)
    if before_event:
        before_event(outcome)
    _send(artifact_deduplicated, grant, stored.digest, stored.size_bytes, outcome.file_name, event_id)
    if ticket and not _is_recorded(ticket, stored.digest):
        found = stored.object
        late_labels.keep(stored.location, stored.digest.hex, found.size_bytes, outcome.file_name, found.modified_at)
    return outcome


def _is_recorded(ticket: Ticket, digest: Digest) -> bool:
    try:
        group_commit.flush()
        ticket.wait()
    except (django.db.Error, CommitTimeout) as error:  # the artifact is stored and its event kept
        logger.warning("The label of artifact %s could not be recorded: %r", digest, error)
        return False
    return True


def _mark_corrupt(stored: Stored) -> None:
    logger.error("Artifact %s in %s does not match its digest", stored.digest, stored.location)
    try:
        labels.mark_corrupt(stored.location, stored.digest, stored.object, stored.label)
    except django.db.Error:  # the download fails as corrupt all the same, and the next one will try again
        logger.exception("Artifact %s is corrupt, and could not be marked", stored.digest)


def _mark_found(stored: Stored, label: Label) -> None:
    try:
        labels.mark_found(stored.location, label)
    except django.db.Error:  # the next upload, or the next scrub, will try again
        logger.exception("Artifact %s is no longer missing, and could not be marked so", stored.digest)


def _send(
    signal: Signal, grant: Grant, digest: Digest, size_bytes: int, file_name: str, event_id: UUID | None = None
) -> None:
    signal.send_robust(
        sender=Artifact,
        digest=digest.hex,
        size_bytes=size_bytes,
        file_name=file_name,
        backend=grant.backend,
        location=grant.secret_id,
        org_id=grant.org_id,
        event_id=event_id,
        source_internal=grant.source_internal,
    )
