"""HTTP in and out; what is done with an artifact is in services.py."""

from collections.abc import Iterable
from typing import Any, cast

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from artifacts import services
from artifacts.authentication import BearerAuthentication, BearerOrQueryAuthentication
from artifacts.digests import Digest
from artifacts.exceptions import LengthRequired
from artifacts.parsers import RequestBody, parse_file_name, parse_range
from artifacts.permissions import RoleAllows
from artifacts.tokens import Grant

# How much of a refused body is read so that its sender sees why, rather than a broken pipe (bytes).
DISCARD_LIMIT = 64 * 1024**2


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

    def initialize_request(self, request: Any, *args: Any, **kwargs: Any) -> Request:
        self.body = RequestBody(request.META)
        return super().initialize_request(request, *args, **kwargs)

    def handle_exception(self, exc: Exception) -> Response:
        self.body.discard(DISCARD_LIMIT)
        return super().handle_exception(exc)

    @property
    def grant(self) -> Grant:
        """What the request's token allows."""
        return cast(Grant, self.request.auth)

    def store(self, request: Request, digest: Digest | None = None) -> Response:
        """Answer an upload: 201 stored, 200 already there."""
        outcome = services.upload(self.grant, self.body, parse_file_name(request), digest)
        content = {
            "digest": str(outcome.digest),
            "size_bytes": outcome.size_bytes,
            "file_name": outcome.file_name,
            "skipped": outcome.skipped,
        }
        location = f"/artifacts/{outcome.digest}"
        return Response(content, 200 if outcome.skipped else 201, headers={"Location": location})

    def serve(self, request: Request, digest: Digest, file_name: str = "") -> HttpResponseBase:
        """Answer a download: 200 whole, 206 a range, 304 the client has it."""
        stored = services.find(self.grant, digest)
        headers = _headers(stored, file_name)
        whole = HttpResponse(headers=headers)
        answer = get_conditional_response(request._request, etag=headers["ETag"], response=whole)
        if answer is not None and answer is not whole:
            return answer
        span = parse_range(request, stored.size_bytes, headers["ETag"])
        status = 200
        if span is not None:
            status = 206
            headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{stored.size_bytes}"
            headers["Content-Length"] = str(len(span))
        blocks = services.read(self.grant, stored, span or range(stored.size_bytes), file_name)
        return StreamingHttpResponse(blocks, status=status, headers=headers)


class CollectionView(ArtifactAPIView):
    """`/artifacts/`: an upload whose digest the client does not know."""

    def post(self, request: Request) -> Response:
        if self.body.length is None or "CONTENT_LENGTH" not in request.META:
            raise LengthRequired
        return self.store(request)


class ArtifactView(ArtifactAPIView):
    """`/artifacts/sha256:<hex>`."""

    either_role = {"HEAD"}

    def put(self, request: Request, digest: str) -> Response:
        return self.store(request, Digest.parse(digest))

    def head(self, request: Request, digest: str) -> HttpResponse:
        return HttpResponse(headers=_headers(services.find(self.grant, Digest.parse(digest))))

    def get(self, request: Request, digest: str) -> HttpResponseBase:
        return self.serve(request, Digest.parse(digest))


class DescribeView(ArtifactAPIView):
    """`/artifacts/sha256:<hex>/describe`."""

    either_role = {"GET", "HEAD"}

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
        return HttpResponse(headers=_headers(stored, parse_file_name(request)))

    def get(self, request: Request, digest: str) -> HttpResponseBase:
        return self.serve(request, Digest.parse(digest), parse_file_name(request))


def _headers(stored: services.Stored, file_name: str = "") -> dict[str, str]:
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
