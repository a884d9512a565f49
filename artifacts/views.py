"""HTTP in and out; what is done with an artifact is in services.py."""

import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, ClassVar, cast

from django.conf import settings
from django.http import HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from artifacts import services
from artifacts.admission import NOBODY, TRANSFERS, Slot
from artifacts.authentication import BearerAuthentication, BearerOrQueryAuthentication
from artifacts.digests import Digest
from artifacts.exceptions import Busy, LengthRequired, PreconditionFailed
from artifacts.parsers import RequestBody, parse_file_name, parse_range
from artifacts.permissions import RoleAllows
from artifacts.tokens import Grant

# How much of a refused body is read so that its sender sees why, rather than a broken pipe (bytes). A proxy takes a
# broken pipe for a server that is away, and says so to a client that would try again for nothing: to it, all.
DISCARD_LIMIT = sys.maxsize if settings.CAS_BEHIND_PROXY else 64 * 1024**2


# Not by a renderer of DRF's, which take as long as finding the artifact.
_AS_DRF = {"separators": (",", ":"), "ensure_ascii": False}

_CONDITIONS = frozenset({"HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"})


class AnyAccept(BaseContentNegotiation):
    """Artifacts have one representation and errors one form, whatever `Accept` says."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> None:
        return None

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type or ""


class ArtifactAPIView(APIView):
    authentication_classes = [BearerAuthentication]
    permission_classes = [RoleAllows]
    content_negotiation_class = AnyAccept
    parser_classes = ()  # a body is read as it is
    transfers = {"PUT", "POST", "GET"}  # the methods that move an artifact, at the client's pace
    slot: Slot | None = None
    allowed: ClassVar[dict[str, str]]

    @property
    def default_response_headers(self) -> dict[str, str]:
        """As DRF has it, which looks for every method's handler anew with every answer."""
        if "allowed" not in type(self).__dict__:
            type(self).allowed = {"Allow": ", ".join(self.allowed_methods)}
        return self.allowed

    def initialize_request(self, request: Any, *args: Any, **kwargs: Any) -> Request:
        self.body = RequestBody(request.META)
        made: Request = super().initialize_request(request, *args, **kwargs)
        # It holds the request and this view: nothing of either would be freed before the garbage collector came.
        made.parser_context.clear()
        return made

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Only what these views have: no versions; and what is answered is negotiated when it is."""
        self.perform_authentication(request)
        self.check_permissions(request)
        self.check_throttles(request)

    def check_throttles(self, request: Request) -> None:
        """When it is known who asks for what, and no byte was read: raises Busy."""
        if request.method in self.transfers:
            self.take_slot()

    def take_slot(self) -> None:
        """Be one of the transfers from here on; raises Busy."""
        self.slot = TRANSFERS.take(self.grant.org_id)

    def handle_exception(self, exc: Exception) -> Response:
        # Nobody's body is waited for without a slot; who was refused one is not waited for at all.
        if self.body.length != 0 and not isinstance(exc, Busy):
            with suppress(Busy):
                self.slot = self.slot or TRANSFERS.take(NOBODY)
                self.body.discard(DISCARD_LIMIT)
        return super().handle_exception(exc)

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        if self.slot is not None:
            if response.streaming:
                response._resource_closers.append(self.slot.release)  # as Django's own handler does
            else:
                self.slot.release()
        return super().finalize_response(request, response, *args, **kwargs)

    @property
    def grant(self) -> Grant:
        """What the request's token allows."""
        return cast(Grant, self.request.auth)

    def store(self, request: Request, digest: Digest | None = None) -> HttpResponse:
        """Answer an upload: 201 stored, 200 already there."""
        outcome = services.upload(self.grant, self.body, parse_file_name(request), digest)
        content = {
            "digest": str(outcome.digest),
            "size_bytes": outcome.size_bytes,
            "file_name": outcome.file_name,
            "skipped": outcome.skipped,
        }
        location = f"/artifacts/{outcome.digest}"
        status = 200 if outcome.skipped else 201
        return JsonResponse(content, status=status, json_dumps_params=_AS_DRF, headers={"Location": location})

    def serve(self, request: Request, digest: Digest, file_name: str = "") -> HttpResponseBase:
        """Answer a download: 200 whole, 206 a range, 304 the client has it."""
        stored = services.find(self.grant, digest)
        headers = download_headers(stored, file_name)
        if unchanged := _not_modified(request, headers):
            return unchanged
        span = parse_range(request, stored.size_bytes, headers["ETag"])
        status = 200
        if span is not None:
            status = 206
            headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{stored.size_bytes}"
            headers["Content-Length"] = str(len(span))
        content = services.read(self.grant, stored, span or range(stored.size_bytes), file_name)
        if isinstance(content, bytes):
            return HttpResponse(content, status=status, headers=headers)
        return StreamingHttpResponse(content, status=status, headers=headers)


class CollectionView(ArtifactAPIView):
    """`/artifacts/`: an upload whose digest the client does not know."""

    def post(self, request: Request) -> HttpResponse:
        if self.body.length is None or "CONTENT_LENGTH" not in request.META:
            raise LengthRequired
        return self.store(request)


class ArtifactView(ArtifactAPIView):
    """`/artifacts/sha256:<hex>`."""

    either_role = {"HEAD"}

    def put(self, request: Request, digest: str) -> HttpResponse:
        return self.store(request, Digest.parse(digest))

    def head(self, request: Request, digest: str) -> HttpResponse:
        headers = download_headers(services.find(self.grant, Digest.parse(digest)))
        return _not_modified(request, headers) or HttpResponse(headers=headers)

    def get(self, request: Request, digest: str) -> HttpResponseBase:
        return self.serve(request, Digest.parse(digest))


class DescribeView(ArtifactAPIView):
    """`/artifacts/sha256:<hex>/describe`."""

    either_role = {"GET", "HEAD"}
    transfers = set()

    def get(self, request: Request, digest: str) -> Response:
        stored = services.find(self.grant, Digest.parse(digest))
        return Response(
            {
                "digest": str(stored.digest),
                "size_bytes": stored.size_bytes,
                "file_name": stored.file_name,
                "created_at": stored.created_at,
            }
        )


class DownloadView(ArtifactAPIView):
    """`/download/sha256:<hex>?t=<jwt>`: what a browser can follow."""

    authentication_classes = [BearerOrQueryAuthentication]

    def head(self, request: Request, digest: str) -> HttpResponse:
        stored = services.find(self.grant, Digest.parse(digest))
        headers = download_headers(stored, parse_file_name(request))
        return _not_modified(request, headers) or HttpResponse(headers=headers)

    def get(self, request: Request, digest: str) -> HttpResponseBase:
        return self.serve(request, Digest.parse(digest), parse_file_name(request))


def _not_modified(request: Request, headers: dict[str, str]) -> HttpResponse | None:
    """The 304 for a client that has it; raises PreconditionFailed (RFC 9110, section 13)."""
    if _CONDITIONS.isdisjoint(request.META):
        return None
    request.META.pop("HTTP_IF_UNMODIFIED_SINCE", None)  # without Last-Modified no date counts; to Django it fails
    whole = HttpResponse(headers=headers)
    answer = get_conditional_response(request._request, etag=headers["ETag"], response=whole)
    if answer is None or answer is whole:
        return None
    if answer.status_code == PreconditionFailed.status:
        raise PreconditionFailed
    return answer


def download_headers(stored: services.Stored, file_name: str = "") -> dict[str, str]:
    """What every answer with an artifact's bytes bears, whoever asks for it."""
    disposition = content_disposition_header(as_attachment=True, filename=file_name or stored.file_name)
    return {
        # Never a type that a browser would run, whatever was uploaded.
        "Content-Type": "application/octet-stream",
        "Content-Length": str(stored.size_bytes),
        "Content-Disposition": disposition or "attachment",
        "ETag": f'"{stored.digest}"',
        "Repr-Digest": stored.digest.as_structured_field(),
        "Accept-Ranges": "bytes",
        # A copy may be kept, but each use of it is asked for, with a token.
        "Cache-Control": "private, no-cache",
        "Content-Security-Policy": "sandbox",
    }
