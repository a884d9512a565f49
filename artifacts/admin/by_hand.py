"""What a person may do with an artifact on its page: have it downloaded, or read and verified now."""

from contextlib import ExitStack
from functools import partial
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from artifacts import examining, services
from artifacts.admission import TRANSFERS
from artifacts.digests import Digest
from artifacts.exceptions import ArtifactNotFound
from artifacts.models import Artifact
from artifacts.scrub_findings import Finding
from artifacts.signals import person_acted
from artifacts.views import download_headers

# A page that takes longer is taken for a broken one; what is larger is for `manage.py verify_artifacts`.
MOST_VERIFIED = 256 * 1024**2

PEOPLE = "people"  # in admission: all of them together, as one organization's clients are


def download(request: HttpRequest, artifact: Artifact) -> HttpResponseBase:
    """The artifact as the API hands it out: verified while it is sent, an attachment, never run by a browser.

    Recorded when all of it is verified, before the last piece leaves. Raises ArtifactNotFound, ArtifactCorrupt,
    StorageError, Busy.
    """
    with ExitStack() as held:
        held.callback(TRANSFERS.take(PEOPLE).release)
        stored = services.find_stored(artifact.location, Digest(artifact.digest))
        if stored is None:
            raise ArtifactNotFound
        headers = {**download_headers(stored), "Accept-Ranges": "none"}
        at_end = partial(_tell, request, "downloaded", artifact)
        content = services.read_by(stored, range(stored.size_bytes), at_end)
        if isinstance(content, bytes):
            return HttpResponse(content, headers=headers)
        response = StreamingHttpResponse(content, headers=headers)
        keep_while_sent(held, response)
        return response


def keep_while_sent(held: ExitStack, response: HttpResponseBase) -> None:
    """Let go of what is held when the answer has been sent or given up, by the way of Django's own handler."""
    response._resource_closers.append(held.pop_all().close)  # type: ignore[attr-defined]


def verify(request: HttpRequest, artifact: Artifact) -> Finding:
    """Read all of it, and note what was found. Raises StorageError, Busy, django.db.Error."""
    slot = TRANSFERS.take(PEOPLE)
    try:
        finding = examining.verify(artifact)
    finally:
        slot.release()
    _tell(request, "tested", artifact, found=finding.state.value)
    return finding


def _tell(request: HttpRequest, act: str, artifact: Artifact, **more: Any) -> None:
    details = {"digest": artifact.digest, "size_bytes": artifact.size_bytes, "location": str(artifact.location), **more}
    person_acted.send(sender=Artifact, request=request, act=act, subject=artifact, org_id=None, details=details)
