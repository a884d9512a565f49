"""An upload in as many requests as it takes: tus 1.0.0 (https://tus.io/protocols/resumable-upload)."""

import base64
import re
import time
from contextlib import AbstractContextManager
from http import HTTPStatus

from artifact_cas_client.errors import (
    BadAnswer,
    CasError,
    ConnectionFailed,
    DigestMismatch,
    NotFound,
    ServerError,
    Unavailable,
)
from artifact_cas_client.exchange import Body
from artifact_cas_client.progress import Progress
from artifact_cas_client.results import Upload
from artifact_cas_client.resume_cache import ResumeCache
from artifact_cas_client.retrying import Backoff
from artifact_cas_client.sources import Source
from artifact_cas_client.transport import Answer, Transport

_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_VERSION = {"Tus-Resumable": "1.0.0"}


class ResumableUpload:
    """Begins where an earlier run of it stopped, and goes on after whatever breaks off."""

    def __init__(
        self, transport: Transport, source: Source, cache: ResumeCache, backoff: Backoff, progress: Progress
    ) -> None:
        self._transport = transport
        self._source = source
        self._cache = cache
        self._backoff = backoff
        self._progress = progress
        self._server = str(transport.server)
        self._id = self._remembered = cache.find(self._server, source.digest)
        self._offset = 0
        self._told = 0
        self._skipped = False
        self._busy_until: float | None = None

    def run(self) -> Upload:
        """Upload it; raises CasError, OSError."""
        while True:
            reached = self._offset
            try:
                is_finished = self._step()
            except CasError as error:
                self._recover(error)
                continue
            if is_finished:
                self._cache.drop(self._server, self._source.digest)
                return Upload(self._source.digest, self._source.size, self._source.file_name, self._skipped)
            if self._offset <= reached:
                self._backoff.wait(ConnectionFailed("The server takes no more of the upload."))

    def _step(self) -> bool:
        """Look where it stands, then send the rest; whether it is finished."""
        return (self._create() if self._id is None else self._look()) or self._send()

    def _recover(self, error: CasError) -> None:
        """Get ready for another attempt after this error, or raise it."""
        if isinstance(error, NotFound) and self._id is not None:
            is_remembered = self._id == self._remembered
            self._forget()
            if not is_remembered:  # else it has expired, or is another organization's
                self._backoff.wait(_as_transient(error))
        elif isinstance(error, ServerError) and error.status == HTTPStatus.LOCKED and self._may_be_busy():
            self._backoff.pause(error)
        elif isinstance(error, ServerError) and error.status == HTTPStatus.CONFLICT:
            self._backoff.wait(_as_transient(error))  # somebody else goes on with the same upload
        else:
            if error.code == DigestMismatch.code:
                self._forget()
            self._backoff.wait(error)

    def _may_be_busy(self) -> bool:
        """Whether a request that is finishing the upload, and reads all of it, may be at it yet."""
        now = time.monotonic()
        self._busy_until = self._busy_until or now + self._transport.patience(self._source.size)
        return now < self._busy_until

    def _forget(self) -> None:
        self._id = None
        self._busy_until = None
        self._cache.drop(self._server, self._source.digest)

    def _create(self) -> bool:
        """Begin it; True when that was all, because the artifact is there."""
        metadata = [f"digest {_encoded(self._source.digest)}"]
        if self._source.file_name:
            metadata.append(f"filename {_encoded(self._source.file_name)}")
        headers = {**_VERSION, "Upload-Length": str(self._source.size), "Upload-Metadata": ",".join(metadata)}
        with self._transport.request("POST", "/uploads/", headers) as answer:
            upload_id = answer.headers.get("Location", "").rstrip("/").rsplit("/", 1)[-1]
            if not _ID.fullmatch(upload_id):
                raise BadAnswer("The server does not say where the upload is.")
            self._id = upload_id
            self._offset = 0
            self._move(0)
            if "Upload-Offset" in answer.headers and self._stands_at(answer):
                self._skipped = True  # as older servers do not say
                return True
        self._cache.keep(self._server, self._source.digest, upload_id)
        return False

    def _look(self) -> bool:
        try:
            with self._request("HEAD", _VERSION) as answer:
                if answer.headers.get("Upload-Length") != str(self._source.size):
                    raise NotFound(HTTPStatus.NOT_FOUND, "upload_not_found", "The upload is another one.")
                return self._stands_at(answer)
        except ServerError as error:
            if error.status == HTTPStatus.UNPROCESSABLE_ENTITY:  # it has no body to say so, and the upload is gone
                detail = "What has come of the upload has another digest."
                raise ServerError(error.status, DigestMismatch.code, detail) from error
            raise

    def _send(self) -> bool:
        start = self._offset
        headers = {**_VERSION, "Upload-Offset": str(start), "Content-Type": "application/offset+octet-stream"}
        with self._source.path.open("rb") as file:
            file.seek(start)
            body = Body(file, self._source.size - start, lambda count: self._move(self._told + count))
            with self._request("PATCH", headers, body) as answer:
                return self._stands_at(answer)

    def _request(
        self, method: str, headers: dict[str, str], body: Body | None = None
    ) -> AbstractContextManager[Answer]:
        # Whichever finds that all bytes are there has the server read them all once more.
        return self._transport.request(method, f"/uploads/{self._id}", headers, body, read_before=self._source.size)

    def _stands_at(self, answer: Answer) -> bool:
        """Take over the server's offset; whether the upload is finished, and is what it should be."""
        offset = answer.headers.get("Upload-Offset", "")
        if not offset.isdecimal() or int(offset) > self._source.size:
            raise BadAnswer("The server does not say where the upload stands.")
        if int(offset) > self._offset:
            self._backoff.reset()
        self._offset = int(offset)
        self._move(self._offset)
        if self._offset < self._source.size or "Content-Location" not in answer.headers:
            return False
        if not answer.headers["Content-Location"].endswith(f"/artifacts/{self._source.digest}"):
            raise DigestMismatch("The server has stored something else.")
        self._skipped = answer.headers.get("Upload-Skipped") == "true"
        return True

    def _move(self, position: int) -> None:
        self._progress.advance(position - self._told)
        self._told = position


def _as_transient(error: ServerError) -> ServerError:
    return Unavailable(error.status or HTTPStatus.CONFLICT, error.code, error.detail)


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
