"""tus 1.0 over HTTP (https://tus.io/protocols/resumable-upload); what an upload does is in resumable.py."""

import base64
import binascii
import re
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.http import http_date
from rest_framework.request import Request
from rest_framework.response import Response

from artifacts import resumable, services
from artifacts.digests import Digest
from artifacts.exceptions import (
    InvalidFileName,
    InvalidHeader,
    InvalidMetadata,
    UnsupportedMediaType,
    UnsupportedVersion,
)
from artifacts.file_names import check_file_name
from artifacts.permissions import IsUploader
from artifacts.resumable import Progress
from artifacts.views import ArtifactAPIView

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,expiration,termination"
CONTENT_TYPE = "application/offset+octet-stream"
MAX_METADATA = 4096  # characters

_NUMBER = re.compile(r"[0-9]{1,18}")  # fits a database's 64-bit integer
_KEY = re.compile(r"[!-+\--~]+")  # ASCII that is visible, no comma


class TusView(ArtifactAPIView):
    """What all addresses of the protocol share: its version, its methods by another name."""

    permission_classes = [IsUploader]
    transfers = {"POST", "PATCH"}

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        # For clients behind something that lets only GET and POST pass; the protocol demands it.
        if override := request.headers.get("X-HTTP-Method-Override"):
            request.method = override.upper()
        return super().dispatch(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if request.method == "OPTIONS":
            return
        if request.headers.get("Tus-Resumable") != VERSION:
            raise UnsupportedVersion(f"Tus-Resumable must be {VERSION}.")
        super().initial(request, *args, **kwargs)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        answer: Any = super().finalize_response(request, response, *args, **kwargs)
        answer["Tus-Resumable"] = VERSION
        answer["Cache-Control"] = "no-store"
        if not isinstance(answer, Response):  # the protocol's answers are their headers; errors have a body
            del answer["Content-Type"]
        if answer.status_code == UnsupportedVersion.status:
            answer["Tus-Version"] = VERSION
        return answer

    def options(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:  # type: ignore[override]
        """What this server can do; no token is asked for."""
        limit = str(services.server_limit())
        headers = {"Tus-Version": VERSION, "Tus-Extension": EXTENSIONS, "Tus-Max-Size": limit}
        return HttpResponse(status=204, headers=headers)


class CreationView(TusView):
    """`/uploads/`."""

    def post(self, request: Request) -> HttpResponse:
        has_body = self.body.length != 0
        if has_body:
            _check_content_type(request)
        header = request.headers.get("Upload-Metadata", "").strip()
        metadata = parse_metadata(header)
        progress = resumable.begin(
            self.grant,
            _parse_length(request),
            file_name=_file_name(metadata),
            digest=Digest.parse(_text(metadata, "digest")) if "digest" in metadata else None,
            metadata=header,
        )
        if has_body:
            progress = resumable.append(self.grant, str(progress.upload_id), 0, self.body)
        headers = {"Location": f"/uploads/{progress.upload_id}", **_headers(progress)}
        if not has_body and progress.digest is None:
            del headers["Upload-Offset"]  # it says how much of a body was taken
        return HttpResponse(status=201, headers=headers)


class UploadView(TusView):
    """`/uploads/<id>`."""

    def head(self, request: Request, upload_id: str) -> HttpResponse:
        progress = resumable.find(self.grant, upload_id, before_finishing=self.take_slot)
        headers = {**_headers(progress), "Upload-Length": str(progress.length)}
        if progress.metadata:
            headers["Upload-Metadata"] = progress.metadata
        return HttpResponse(headers=headers)

    def patch(self, request: Request, upload_id: str) -> HttpResponse:
        _check_content_type(request)
        offset = _parse_number(request, "Upload-Offset")
        return HttpResponse(status=204, headers=_headers(resumable.append(self.grant, upload_id, offset, self.body)))

    def delete(self, request: Request, upload_id: str) -> HttpResponse:
        resumable.cancel(self.grant, upload_id)
        return HttpResponse(status=204)


def parse_metadata(header: str) -> dict[str, bytes]:
    """Read `Upload-Metadata`: keys, each with a base64 value or none. Raises InvalidMetadata."""
    if len(header) > MAX_METADATA:
        raise InvalidMetadata(f"Upload-Metadata is longer than {MAX_METADATA} characters.")
    metadata: dict[str, bytes] = {}
    for pair in header.split(",") if header else ():
        key, _, encoded = pair.strip(" ").partition(" ")
        if not _KEY.fullmatch(key):
            raise InvalidMetadata("Upload-Metadata has a key that is empty or not visible ASCII.")
        if key in metadata:
            raise InvalidMetadata(f"Upload-Metadata has {key} twice.")
        try:
            metadata[key] = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidMetadata(f"Upload-Metadata's {key} is not base64.") from error
    return metadata


def _file_name(metadata: dict[str, bytes]) -> str:
    try:
        return check_file_name(metadata.get("filename", b"").decode())
    except UnicodeDecodeError as error:
        raise InvalidFileName("The file name is not UTF-8.") from error


def _text(metadata: dict[str, bytes], key: str) -> str:
    return metadata[key].decode("ascii", errors="replace")


def _parse_length(request: Request) -> int:
    if "Upload-Defer-Length" in request.headers:
        raise InvalidHeader("Upload-Defer-Length is not supported: send Upload-Length.")
    return _parse_number(request, "Upload-Length")


def _parse_number(request: Request, name: str) -> int:
    value = request.headers.get(name)
    if value is None:
        raise InvalidHeader(f"{name} is missing.")
    if not _NUMBER.fullmatch(value):
        raise InvalidHeader(f"{name} is not a number of bytes.")
    return int(value)


def _check_content_type(request: Request) -> None:
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != CONTENT_TYPE:
        raise UnsupportedMediaType


def _headers(progress: Progress) -> dict[str, str]:
    headers = {"Upload-Offset": str(progress.offset)}
    if progress.digest is None:
        headers["Upload-Expires"] = http_date(progress.expires_at.timestamp())
    else:
        headers["Content-Location"] = f"/artifacts/{progress.digest}"
        headers["Repr-Digest"] = progress.digest.as_structured_field()
    if progress.skipped is not None:
        headers["Upload-Skipped"] = str(progress.skipped).lower()
    return headers
