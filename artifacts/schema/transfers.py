"""Whole artifacts: up, down, and what is known of them."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema

from artifacts.exceptions import (
    ArtifactCorrupt,
    ArtifactNotFound,
    DigestMismatch,
    IncompleteBody,
    InvalidDigest,
    InvalidFileName,
    InvalidRange,
    LengthRequired,
    PreconditionFailed,
    StorageFull,
    TooLarge,
)
from artifacts.schema.headers import DIGEST, answered, header
from artifacts.schema.parts import (
    BINARY,
    DIGEST_PATTERN,
    TEXT,
    describe,
    digest,
    file_name,
    nothing,
    problems,
    sent_file_name,
)

_SIZE = {"type": "integer", "minimum": 0, "description": "Bytes."}
_NAME = {**TEXT, "description": 'As it was first uploaded with; "" when it has none.'}
_KNOWN = {"digest": DIGEST, "size_bytes": 5, "file_name": "hello.txt"}


def _artifact(**further: Any) -> dict[str, Any]:
    """What is said of an artifact, and more."""
    properties = {
        "digest": {"type": "string", "pattern": DIGEST_PATTERN},
        "size_bytes": _SIZE,
        "file_name": _NAME,
        **further,
    }
    return {"type": "object", "required": list(properties), "properties": properties, "additionalProperties": False}


def _uploaded(description: str, *, skipped: bool) -> OpenApiResponse:
    schema = _artifact(skipped={"type": "boolean", "description": "Whether it was there already."})
    example = OpenApiExample("uploaded", {**_KNOWN, "skipped": skipped}, response_only=True)
    return OpenApiResponse(schema, description, [example])


def _described() -> OpenApiResponse:
    schema = _artifact(created_at={"type": "string", "format": "date-time", "description": "When it was stored."})
    example = OpenApiExample("described", {**_KNOWN, "created_at": "2026-11-28T08:00:00.123456Z"}, response_only=True)
    return OpenApiResponse(schema, "What is known of it.", [example])


def _bytes(description: str) -> OpenApiResponse:
    return OpenApiResponse(OpenApiTypes.BINARY, description)


_UPLOAD_ANSWERS = {
    ("200", "application/json"): _uploaded("It was there already; the body was not stored again.", skipped=True),
    ("201", "application/json"): _uploaded("Stored: its bytes match the digest and are on disk.", skipped=False),
}
_UPLOAD_ERRORS = (InvalidFileName, IncompleteBody, TooLarge, StorageFull)
_UPLOAD_HEADERS = answered(["Location"], [200, 201])

_CONDITIONS = [header(name) for name in ("Range", "If-Range", "If-Match", "If-None-Match")]
_DOWNLOAD_HEADERS = [
    *answered(["ETag"], [200, 206, 304]),
    *answered(["Content-Disposition", "Repr-Digest", "Accept-Ranges", "Cache-Control"], [200, 206]),
    *answered(["Content-Range"], [206, 416]),
]
_DOWNLOAD_ANSWERS = {
    ("200", "application/octet-stream"): _bytes(
        "The artifact. It ends short of `Content-Length` when what is stored turns out to be damaged."
    ),
    ("206", "application/octet-stream"): _bytes("The range."),
    "304": nothing("The client has it."),
}
_FIND_ERRORS = (InvalidDigest, ArtifactNotFound)
_DOWNLOAD_ERRORS = (*_FIND_ERRORS, PreconditionFailed, InvalidRange, ArtifactCorrupt, StorageFull)


describe(
    "artifacts.views.CollectionView",
    post=extend_schema(
        operation_id="upload_of_unknown_digest",
        summary="Upload an artifact whose digest is not known",
        description="The body is the artifact, raw; its length must be announced. The answer has the digest. "
        "The token's role must be `uploader`.",
        parameters=[*sent_file_name(), *_UPLOAD_HEADERS],
        request=BINARY,
        responses=_UPLOAD_ANSWERS | problems(*_UPLOAD_ERRORS, LengthRequired),
        tags=["artifacts"],
    ),
)

describe(
    "artifacts.views.ArtifactView",
    put=extend_schema(
        operation_id="upload",
        summary="Upload an artifact",
        description="The body is the artifact, raw, and must have this digest. What is there already is answered at "
        "once: a client that sends `Expect: 100-continue` then sends no body at all. "
        "The token's role must be `uploader`.",
        parameters=[digest(), *sent_file_name(), *_UPLOAD_HEADERS],
        request=BINARY,
        responses=_UPLOAD_ANSWERS | problems(*_UPLOAD_ERRORS, InvalidDigest, DigestMismatch),
        tags=["artifacts"],
    ),
    get=extend_schema(
        operation_id="download",
        summary="Download an artifact, or a range of it",
        description="Its bytes are verified on their way. The token's role must be `downloader`.",
        parameters=[digest(), *_CONDITIONS, *_DOWNLOAD_HEADERS],
        responses=_DOWNLOAD_ANSWERS | problems(*_DOWNLOAD_ERRORS),
        tags=["artifacts"],
    ),
)

describe(
    "artifacts.views.DescribeView",
    get=extend_schema(
        operation_id="describe",
        summary="What is known of an artifact",
        description="It makes no event. Either role will do.",
        parameters=[digest()],
        responses={("200", "application/json"): _described()} | problems(*_FIND_ERRORS),
        tags=["artifacts"],
    ),
)

describe(
    "artifacts.views.DownloadView",
    get=extend_schema(
        operation_id="download_by_browser",
        summary="Download an artifact by a link",
        description="As `/artifacts/{digest}`, for browsers: the token may stand in the address. "
        "The token's role must be `downloader`.",
        parameters=[
            digest(),
            file_name("What the browser is to call it, instead of the name it was uploaded with."),
            header("Content-Disposition"),
            *_CONDITIONS,
            *_DOWNLOAD_HEADERS,
        ],
        responses=_DOWNLOAD_ANSWERS | problems(*_DOWNLOAD_ERRORS, InvalidFileName),
        tags=["artifacts"],
    ),
)
