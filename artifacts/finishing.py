"""How an upload that came in pieces ends: one request makes it an artifact, others wait for what that comes to."""

import io
import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event, Thread

import django.db
from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from artifacts import services
from artifacts.digests import Digest
from artifacts.exceptions import ArtifactError, DigestMismatch, Unavailable, UploadBusy, UploadNotFound
from artifacts.models import ResumableUpload
from artifacts.services import Stored, Uploaded
from artifacts.storage import ObjectReader, Partial, open_store
from artifacts.storage.errors import storage_errors
from artifacts.tokens import Grant
from common import group_commit
from common.group_commit import CommitTimeout, Ticket

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=15)  # after which a request that was finishing an upload and says nothing is dead
PATIENCE = 25.0  # seconds a request waits for another that is finishing the same upload
POLLING = 0.1  # seconds


def finish(grant: Grant, upload: ResumableUpload) -> None:
    """Make it an artifact, or wait for the request that does; `upload` then has its result.

    One event comes of it, committed together with the result or, as when the trail takes none, kept before it: a server
    that is killed meanwhile has done both, neither, or the event alone, which is told again under its id.
    Raises what `commit` raises; Unavailable when the database has not recorded the result.
    """
    if not _take_lease(upload):
        return
    partial = partial_of(upload)
    try:
        with _lease_kept(upload), _opened(upload, partial) as source:
            _commit(grant, upload, partial, source)
    except DigestMismatch:
        ResumableUpload.objects.filter(pk=upload.pk).delete()
        _discard_quietly(upload, partial)
        raise
    except BaseException:
        ResumableUpload.objects.filter(pk=upload.pk, result="").update(finishing_until=None)
        raise


def skip(grant: Grant, upload: ResumableUpload, stored: Stored) -> None:
    """End an upload of what is there already."""
    upload.was_there = True
    settling = _Settling(upload)
    services.record_skipped(grant, stored, upload.file_name, before_event=settling.defer, event_id=_event_id(upload))
    settling.is_done()  # or not: the client is told 201, and whoever finishes it once more finds the artifact there


def partial_of(upload: ResumableUpload) -> Partial:
    """Where its bytes are; raises StorageError."""
    return open_store(upload.location).partial(str(upload.pk))


def refresh(upload: ResumableUpload) -> None:
    """Read what others may have made of it; raises UploadNotFound."""
    try:
        upload.refresh_from_db(fields=["result", "was_there", "skipped", "expires_at"])
    except ResumableUpload.DoesNotExist as error:
        raise UploadNotFound from error


def next_expiry() -> datetime:
    """When an upload expires that something happened to now."""
    return timezone.now() + timedelta(hours=settings.CAS_UPLOAD_EXPIRES_HOURS)


def not_finishing(uploads: QuerySet[ResumableUpload]) -> QuerySet[ResumableUpload]:
    """Those that no request is making an artifact of."""
    return uploads.filter(Q(finishing_until=None) | Q(finishing_until__lt=timezone.now()))


@dataclass(frozen=True, slots=True)
class _Source:
    """All of a partial, to be read through once."""

    file: ObjectReader
    length: int

    def read(self, size: int, /) -> bytes:
        with storage_errors():
            return self.file.read(size)


@contextmanager
def _opened(upload: ResumableUpload, partial: Partial) -> Iterator[_Source]:
    # Of an empty upload there is nothing in the storage.
    file = partial.open() if upload.length else io.BytesIO()
    try:
        yield _Source(file, upload.length)
    finally:
        file.close()


def _commit(grant: Grant, upload: ResumableUpload, partial: Partial, source: _Source) -> None:
    location = upload.location
    digest = Digest(upload.digest) if upload.digest else None
    stored = services.find_stored(location, digest) if digest else None
    if upload.length:
        staged = partial.stage(digest, upload.file_name)
    else:
        staged = open_store(location).stage(digest, 0, upload.file_name)
    settling = _Settling(upload)
    services.commit(
        grant,
        location,
        staged,
        source,
        upload.file_name,
        digest=digest,
        stored=stored,
        # What is placed and cannot be recorded is there already when it is finished once more, and counts as skipped.
        before_placing=lambda: _prolong_lease(upload.pk),
        before_event=settling.defer,
        event_id=_event_id(upload),
    )
    if not settling.is_done():
        raise Unavailable
    _discard_quietly(upload, partial)


def _event_id(upload: ResumableUpload) -> uuid.UUID:
    """One id for its event: who is killed after that, and before the result is kept, finishes it once more."""
    return uuid.uuid5(upload.pk, "event")


class _Settling:
    """The result of an upload on its way into its row, together with the event."""

    def __init__(self, upload: ResumableUpload) -> None:
        self._upload = upload
        self._ticket: Ticket | None = None

    def defer(self, outcome: Uploaded) -> None:
        self._upload.result = outcome.digest.hex
        self._upload.skipped = outcome.skipped
        self._upload.expires_at = next_expiry()
        self._ticket = group_commit.defer(_settle, self._upload)

    def is_done(self) -> bool:
        """Whether the row has it. If not, the upload stays as it was, and a client may finish it again."""
        try:
            group_commit.flush()
            if self._ticket:
                self._ticket.wait()
        except (django.db.Error, CommitTimeout) as error:  # the artifact is stored and its event kept
            logger.warning("The result of upload %s was not recorded with its event: %r", self._upload, error)
            return self._is_written_alone()
        return True

    def _is_written_alone(self) -> bool:
        """The same by the thread's own connection, as a group may wait for a trail that is busy."""
        try:
            with transaction.atomic():  # not write_transaction: on SQLite its turn is waited for without end
                _settle([self._upload])  # changes nothing if the group has done it, or does it later
        except django.db.Error:
            logger.exception("The result of upload %s could not be recorded", self._upload)
            return False
        return True


def _settle(uploads: Sequence[ResumableUpload]) -> None:
    for upload in uploads:
        ResumableUpload.objects.filter(pk=upload.pk, result="").update(
            result=upload.result,
            was_there=upload.was_there,
            skipped=upload.skipped,
            expires_at=upload.expires_at,
            finishing_until=None,
        )


def _discard_quietly(upload: ResumableUpload, partial: Partial) -> None:
    try:
        partial.discard()
    except ArtifactError:  # what the upload came to is decided; its age will have it swept
        logger.exception("The bytes of upload %s in %s could not be removed", upload, upload.location)


def _take_lease(upload: ResumableUpload) -> bool:
    """Be the one who finishes it: False when another did, and `upload` has the result. Raises UploadBusy."""
    deadline = time.monotonic() + PATIENCE
    while True:
        row = ResumableUpload.objects.filter(pk=upload.pk, result="")
        if not_finishing(row).update(finishing_until=timezone.now() + LEASE):
            return True
        refresh(upload)
        if upload.result:
            return False
        if time.monotonic() > deadline:
            raise UploadBusy
        time.sleep(POLLING)


@contextmanager
def _lease_kept(upload: ResumableUpload) -> Iterator[None]:
    over = Event()
    keeper = Thread(target=_keep_lease, args=(upload.pk, over), name="lease", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join(LEASE.total_seconds())


def _keep_lease(pk: uuid.UUID, over: Event) -> None:
    try:
        while not over.wait(LEASE.total_seconds() / 3):
            try:
                _prolong_lease(pk)
            except django.db.Error:
                logger.exception("The lease on upload %s could not be prolonged", pk)
    finally:
        django.db.connection.close()


def _prolong_lease(pk: uuid.UUID) -> None:
    ResumableUpload.objects.filter(pk=pk, result="").update(finishing_until=timezone.now() + LEASE)
