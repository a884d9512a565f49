"""Uploads that come in pieces, over as many requests, servers and tokens as it takes. No HTTP here.

The storage says how far an upload has come, the row whose it is and what became of it. No lock is held while
bytes arrive: of two writers at one offset the storage takes one. What ends an upload is done by one request,
which holds a lease on the row meanwhile.
"""

import logging
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from artifacts import quota, services
from artifacts.digests import BLOCK_SIZE, Digest
from artifacts.exceptions import (
    ArtifactError,
    IncompleteBody,
    OffsetMismatch,
    TooLarge,
    UploadBusy,
    UploadExpired,
    UploadNotFound,
)
from artifacts.finishing import finish, next_expiry, not_finishing, partial_of, refresh, skip
from artifacts.locations import find_location
from artifacts.models import ResumableUpload
from artifacts.services import Body, Source
from artifacts.storage import Partial
from artifacts.tokens import Grant

logger = logging.getLogger(__name__)

TOUCHED = 60.0  # seconds of receiving, after which the upload's life is prolonged


@dataclass(frozen=True, slots=True)
class Progress:
    """How an upload stands; `digest` is the artifact's once it is one, and then nothing expires.

    `skipped`: whether the artifact was there already; None until then, and when the version before has finished it.
    """

    upload_id: uuid.UUID
    offset: int
    length: int
    expires_at: datetime
    metadata: str
    digest: Digest | None
    skipped: bool | None


def begin(
    grant: Grant, length: int, *, file_name: str = "", digest: Digest | None = None, metadata: str = ""
) -> Progress:
    """Open an upload of `length` bytes; it is over at once when it is empty, or when the artifact is there already.

    `metadata` is kept and given back. Raises TooLarge, StorageFull, and what locations and storages raise;
    DigestMismatch when nothing is to be sent and that is not what `digest` names.
    """
    location = find_location(grant)
    services.check_length(length, services.upload_limit(grant))
    # Where possession must be proved, all is sent whether it is there or not.
    stored = services.find_stored(location, digest) if digest and not location.proof_of_possession else None
    is_there = stored is not None and stored.size_bytes == length and services.may_stay(stored)
    if not is_there:
        quota.check_room(location, length)
    upload = ResumableUpload(
        location=location,
        org_id=grant.org_id,
        length=length,
        digest=digest.hex if digest else "",
        file_name=file_name,
        metadata=metadata,
        expires_at=next_expiry(),
    )
    upload.save(force_insert=True)
    if stored and is_there:
        skip(grant, upload, stored)
    elif length == 0:
        finish(grant, upload)
    return _progress(upload, 0)


def find(grant: Grant, upload_id: str, *, before_finishing: Callable[[], object] | None = None) -> Progress:
    """How an upload stands. One that has all its bytes is finished first, so that who sees that it has may go.

    `before_finishing` is called before that, which may take as long as a transfer. Raises UploadNotFound, also for
    those of other organizations and locations; UploadExpired, what finishing raises, and what is raised before it.
    """
    upload = _find(grant, upload_id)
    if upload.result:
        return _progress(upload, upload.length)
    offset = partial_of(upload).size()
    if offset == upload.length:
        if before_finishing:
            before_finishing()
        finish(grant, upload)
    else:
        refresh(upload)  # whoever has finished it meanwhile has removed its bytes
    return _progress(upload, offset)


def append(grant: Grant, upload_id: str, offset: int, body: Body) -> Progress:
    """Add what a body has at `offset`, and finish the upload when that was the last.

    Every byte that arrived before the body broke off is kept. Raises OffsetMismatch, TooLarge before anything
    is written beyond the upload's length, IncompleteBody, StorageFull, StorageError, UploadBusy, what `find`
    raises, and DigestMismatch: then the upload is gone.
    """
    upload = _find(grant, upload_id)
    services.check_length(upload.length, services.upload_limit(grant))
    partial = partial_of(upload)
    _check_offset(upload, partial, offset)
    if offset + (body.length or 0) > upload.length:
        raise TooLarge(f"The upload has {upload.length} bytes, and no more.")
    if upload.result:
        body.drain(max(1, upload.length))
        return _progress(upload, upload.length)
    _touch(upload)
    try:
        offset = _receive(upload, partial, offset, body)
    finally:
        _drop_if_over(upload, partial)
    if offset == upload.length:
        finish(grant, upload)
    return _progress(upload, offset)


def cancel(grant: Grant, upload_id: str) -> None:
    """Forget an upload and its bytes, not the artifact that it may have become; raises what `find` raises."""
    upload = _find(grant, upload_id)
    if not discard(upload):
        raise UploadBusy


def discard(upload: ResumableUpload) -> bool:
    """Remove an upload and its bytes; False when it is being made an artifact. Raises StorageError."""
    if not not_finishing(ResumableUpload.objects.filter(pk=upload.pk)).delete()[0]:
        return not ResumableUpload.objects.filter(pk=upload.pk).exists()
    partial_of(upload).discard()
    return True


def offset_of(upload: ResumableUpload) -> int:
    """Bytes there are of it; raises StorageError."""
    return upload.length if upload.result else partial_of(upload).size()


def sweep_uploads() -> int:
    """Remove expired uploads with their bytes; returns how many. What a storage refuses to remove is logged."""
    removed = 0
    expired = ResumableUpload.objects.filter(expires_at__lt=timezone.now()).select_related("location")
    for upload in not_finishing(expired):
        # Not of one that somebody has gone on with since.
        if not not_finishing(ResumableUpload.objects.filter(pk=upload.pk, expires_at=upload.expires_at)).delete()[0]:
            continue
        removed += 1
        try:
            partial_of(upload).discard()
        except ArtifactError:  # its age will have it swept
            logger.exception("The bytes of expired upload %s in %s could not be removed", upload, upload.location)
    return removed


def _find(grant: Grant, upload_id: str) -> ResumableUpload:
    location = find_location(grant)
    try:
        upload = ResumableUpload.objects.get(pk=uuid.UUID(upload_id), location=location, org_id=grant.org_id)
    except (ValueError, ResumableUpload.DoesNotExist) as error:
        raise UploadNotFound from error
    if upload.expires_at < timezone.now():
        raise UploadExpired
    upload.location = location
    return upload


def _progress(upload: ResumableUpload, offset: int) -> Progress:
    return Progress(
        upload_id=upload.pk,
        offset=upload.length if upload.result else offset,
        length=upload.length,
        expires_at=upload.expires_at,
        metadata=upload.metadata,
        digest=Digest(upload.result) if upload.result else None,
        skipped=upload.skipped,
    )


def _check_offset(upload: ResumableUpload, partial: Partial, offset: int) -> None:
    current = upload.length if upload.result else partial.size()
    # Clients begin at 0 without asking. When the artifact was there already, none of them has to be told off for it.
    if offset != current and not (upload.was_there and offset == 0):
        raise OffsetMismatch(f"The upload stands at {current}.")


def _receive(upload: ResumableUpload, partial: Partial, offset: int, body: Body) -> int:
    """Append block by block, and return the offset reached."""
    start = offset
    end = upload.length if body.length is None else start + body.length
    touched_at = time.monotonic()
    while True:
        block = _read_block(body, min(partial.block_size, end - offset))
        if body.length is None and offset + len(block) == end and _read_block(body, 1):
            raise TooLarge(f"The upload has {upload.length} bytes, and no more.")
        if not block:
            break
        partial.append(offset, block)
        offset += len(block)
        if time.monotonic() - touched_at > TOUCHED:
            _touch(upload)
            touched_at = time.monotonic()
    if body.length is not None and offset < end:
        raise IncompleteBody(f"The body ended after {offset - start} of {body.length} bytes.")
    return offset


def _read_block(body: Source, size: int) -> bytes:
    """That many bytes, or as many as come before the body ends, in whatever way."""
    block = bytearray()
    with suppress(IncompleteBody):
        while piece := body.read(min(BLOCK_SIZE, size - len(block))) if len(block) < size else b"":
            block += piece
    return bytes(block)


def _drop_if_over(upload: ResumableUpload, partial: Partial) -> None:
    """A request may outlive its upload: then what it has just written is nobody's."""
    row = ResumableUpload.objects.filter(pk=upload.pk).first()
    if row is None or row.result:
        partial.discard()
    if row is None:
        raise UploadNotFound
    upload.result, upload.skipped = row.result, row.skipped


def _touch(upload: ResumableUpload) -> None:
    upload.expires_at = next_expiry()
    ResumableUpload.objects.filter(pk=upload.pk).update(expires_at=upload.expires_at)
