"""An upload in one request, when it is small; and which way an upload goes."""

from http import HTTPStatus
from urllib.parse import quote

from artifact_cas_client.errors import BadAnswer, CasError, NotFound, ServerError
from artifact_cas_client.exchange import Body
from artifact_cas_client.progress import Progress
from artifact_cas_client.results import Upload
from artifact_cas_client.resume_cache import ResumeCache
from artifact_cas_client.retrying import Backoff
from artifact_cas_client.sources import Source
from artifact_cas_client.transport import Transport
from artifact_cas_client.tus import ResumableUpload

ASK_FROM = 1024**2  # bytes; below, a body is sent to a proxy that swallows `Expect` sooner than it is asked for


def upload(
    transport: Transport, source: Source, cache: ResumeCache, backoff: Backoff, progress: Progress, resumable_from: int
) -> Upload:
    """Have the server store it, or record that it was there.

    A HEAD alone would record nothing, and the savings would be missed in the organization's usage. So what is
    there already is announced as a resumable upload, which ends with its creation: no byte is sent, whatever a
    proxy makes of `Expect`. Raises CasError, OSError.
    """
    in_pieces = ResumableUpload(transport, source, cache, backoff, progress)
    if source.size >= resumable_from or (source.size >= ASK_FROM and _is_there(transport, source, backoff)):
        return in_pieces.run()
    while True:
        try:
            return _put(transport, source, progress)
        except CasError as error:
            backoff.wait(error)


def _is_there(transport: Transport, source: Source, backoff: Backoff) -> bool:
    while True:
        try:
            with transport.request("HEAD", f"/artifacts/{source.digest}") as answer:
                return answer.status == HTTPStatus.OK
        except NotFound:
            return False
        except ServerError as error:
            if not error.is_transient:
                return False  # a HEAD has no body to say why; the upload will
            backoff.wait(error)
        except CasError as error:
            backoff.wait(error)


def _put(transport: Transport, source: Source, progress: Progress) -> Upload:
    query = f"?filename={quote(source.file_name, safe='')}" if source.file_name else ""
    sent = 0

    def told(count: int) -> None:
        nonlocal sent
        sent += count
        progress.advance(count)

    try:
        with source.path.open("rb") as file:
            body = Body(file, source.size, told)
            with transport.request("PUT", f"/artifacts/{source.digest}{query}", body=body) as answer:
                content = answer.json()
    except BaseException:
        progress.advance(-sent)
        raise
    progress.advance(source.size - sent)
    if content.get("digest") != source.digest or not isinstance(content.get("skipped"), bool):
        raise BadAnswer("The server confirmed another upload than this one.")
    return Upload(source.digest, source.size, str(content.get("file_name", "")), content["skipped"])
