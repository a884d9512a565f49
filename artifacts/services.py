"""The spine: upload, find, read. No HTTP here, and no audit: signals tell who listens."""

import logging
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

import django.db
from django.conf import settings
from django.db import transaction
from django.dispatch import Signal
from django.utils import timezone

from artifacts.digests import Digest, VerifyingReader
from artifacts.exceptions import (
    ArtifactCorrupt,
    ArtifactNotFound,
    DigestMismatch,
    IncompleteBody,
    LocationNotFound,
    TooLarge,
    WrongOrganization,
)
from artifacts.models import Artifact, Location
from artifacts.signals import artifact_deduplicated, artifact_downloaded, artifact_uploaded
from artifacts.storage import open_store
from artifacts.storage.errors import storage_errors
from artifacts.tokens import Grant

logger = logging.getLogger(__name__)


class Body(Protocol):
    """An upload on the wire; `length` in bytes, None when the client did not say."""

    @property
    def length(self) -> int | None: ...

    def read(self, size: int, /) -> bytes: ...

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
    size_bytes: int
    label: Artifact | None

    @property
    def is_sound(self) -> bool:
        """False when its bytes are known not to match its digest."""
        return self.label is None or (self.label.corrupt_at is None and self.label.size_bytes == self.size_bytes)

    @property
    def file_name(self) -> str:
        return self.label.file_name if self.label else ""

    @property
    def created_at(self) -> datetime:
        return self.label.created_at if self.label else open_store(self.location).modified_at(self.digest)


def upload(grant: Grant, body: Body, file_name: str, digest: Digest | None = None) -> Uploaded:
    """Store a body, or find that it is stored already; without `digest`, the body alone tells which it is.

    The artifact can be seen by others once its bytes matched and the storage has them durably. Raises
    TooLarge, IncompleteBody, DigestMismatch, and what locations and storages raise.
    """
    location = _find_location(grant)
    limit = _upload_limit(grant)
    if limit and body.length is not None and body.length > limit:
        raise TooLarge(f"The artifact is larger than the {limit} bytes allowed.")

    stored = _find_stored(location, digest) if digest else None
    if stored and stored.is_sound:
        body.drain(limit)
        return _record_skipped(grant, stored, file_name)

    with open_store(location).stage() as staged:
        reader = VerifyingReader(body, expected=digest, length=body.length, limit=limit)
        for block in reader:
            staged.write(block)
        stored = _find_stored(location, reader.digest)  # a POST learns its digest only now
        is_there = stored is not None and stored.is_sound and stored.size_bytes == reader.size
        is_placed = not is_there and staged.place(reader.digest, replace=stored is not None)

    if is_placed:
        return _record_stored(grant, location, reader, file_name)
    # Else it was there, or a twin upload was placed first: the same bytes, so the same size.
    twin = stored or Stored(location, reader.digest, reader.size, label=None)
    return _record_skipped(grant, twin, file_name)


def find(grant: Grant, digest: Digest) -> Stored:
    """The artifact, in the location the token names; raises ArtifactNotFound, LocationNotFound, WrongOrganization."""
    stored = _find_stored(_find_location(grant), digest)
    if stored is None:
        raise ArtifactNotFound
    return stored


def read(grant: Grant, stored: Stored, span: range, file_name: str) -> Iterator[bytes]:
    """Blocks of the bytes in `span`, of which the last comes only when the whole artifact matched its digest.

    Raises ArtifactCorrupt: at once when the artifact is small or known to be corrupt, else while iterated.
    """
    if not stored.is_sound:
        raise ArtifactCorrupt
    blocks = _read_verified(grant, stored, span, file_name)
    first = next(blocks, b"")

    def resume() -> Iterator[bytes]:
        with closing(blocks):
            yield first
            yield from blocks

    return resume()


def _read_verified(grant: Grant, stored: Stored, span: range, file_name: str) -> Generator[bytes]:
    with storage_errors(), closing(open_store(stored.location).open(stored.digest)) as file:
        reader = VerifyingReader(file, expected=stored.digest, length=stored.size_bytes)
        try:
            yield from _hold_back_last(_cut(reader, span))
        except (DigestMismatch, IncompleteBody) as error:
            _mark_corrupt(stored)
            raise ArtifactCorrupt from error
    # Whoever iterates asks for more only after it took the last block.
    _send(artifact_downloaded, grant, stored.digest, len(span), file_name or stored.file_name)


def _cut(blocks: Iterable[bytes], span: range) -> Iterator[bytes]:
    offset = 0
    for block in blocks:
        piece = block[max(0, span.start - offset) : max(0, span.stop - offset)]
        offset += len(block)
        if piece:
            yield piece


def _hold_back_last(blocks: Iterator[bytes]) -> Iterator[bytes]:
    held = next(blocks, b"")
    for block in blocks:
        yield held
        held = block
    if held:
        yield held


def _find_location(grant: Grant) -> Location:
    location = Location.objects.filter(backend=grant.backend, name=grant.secret_id).first()
    if location is None:
        raise LocationNotFound
    if location.organization is not None and location.organization != _parse_uuid(grant.org_id):
        raise WrongOrganization
    return location


def _parse_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _find_stored(location: Location, digest: Digest) -> Stored | None:
    """Ask the storage, which decides: a bucket that others wrote is served as it is."""
    size = open_store(location).size(digest)
    if size is None:
        return None
    return Stored(location, digest, size, location.artifacts.filter(digest=digest.hex).first())


def _upload_limit(grant: Grant) -> int:
    return min((limit for limit in (grant.max_bytes, settings.CAS_MAX_UPLOAD_BYTES) if limit), default=0)


def _record_stored(grant: Grant, location: Location, reader: VerifyingReader, file_name: str) -> Uploaded:
    # The object is in place: should this fail, it is an unreferenced object, which harms nobody.
    with transaction.atomic():
        _label(location, reader.digest, reader.size, file_name, replace=True)
        _send(artifact_uploaded, grant, reader.digest, reader.size, file_name)
    return Uploaded(reader.digest, reader.size, file_name, skipped=False)


def _record_skipped(grant: Grant, stored: Stored, file_name: str) -> Uploaded:
    with transaction.atomic():
        if stored.label is None:
            _label(stored.location, stored.digest, stored.size_bytes, file_name, replace=False)
        name = file_name or stored.file_name
        _send(artifact_deduplicated, grant, stored.digest, stored.size_bytes, name)
    return Uploaded(stored.digest, stored.size_bytes, name, skipped=True)


def _label(location: Location, digest: Digest, size: int, file_name: str, *, replace: bool) -> None:
    label = Artifact(location=location, digest=digest.hex, size_bytes=size, file_name=file_name)
    if replace:
        Artifact.objects.bulk_create(
            [label],
            update_conflicts=True,
            unique_fields=["location", "digest"],
            update_fields=["size_bytes", "file_name", "created_at", "corrupt_at"],
        )
    else:
        Artifact.objects.bulk_create([label], ignore_conflicts=True)


def _mark_corrupt(stored: Stored) -> None:
    try:
        _write_corrupt(stored)
    except django.db.Error:  # the download fails as corrupt all the same, and the next one will try again
        logger.exception("Artifact %s is corrupt, and could not be marked", stored.digest)


def _write_corrupt(stored: Stored) -> None:
    now = timezone.now()
    if stored.label is None:
        corrupt = Artifact(
            location=stored.location, digest=stored.digest.hex, size_bytes=stored.size_bytes, corrupt_at=now
        )
        Artifact.objects.bulk_create([corrupt], ignore_conflicts=True)
    else:
        # Not what an upload has replaced since this download began.
        unchanged = Artifact.objects.filter(pk=stored.label.pk, created_at=stored.label.created_at)
        unchanged.update(corrupt_at=now)


def _send(signal: Signal, grant: Grant, digest: Digest, size_bytes: int, file_name: str) -> None:
    signal.send_robust(
        sender=Artifact,
        digest=digest.hex,
        size_bytes=size_bytes,
        file_name=file_name,
        backend=grant.backend,
        location=grant.secret_id,
        org_id=grant.org_id,
        source_internal=grant.source_internal,
    )
