"""Whole artifacts: up, down, and what is known of them."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema

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
from artifacts.schema.parts import (
    BINARY,
    DIGEST_PATTERN,
    TEXT,
    answered,
    describe,
    digest,
    file_name,
    header,
    nothing,
    problems,
)


def _artifact(**further: Any) -> dict[str, Any]:
    """What is said of an artifact, and more."""
    properties = {
        "digest": {"type": "string", "pattern": DIGEST_PATTERN},
        "size_bytes": {"type": "integer", "minimum": 0},
        "file_name": TEXT,
        **further,
    }
    return {"type": "object", "required": list(properties), "properties": properties, "additionalProperties": False}


_UPLOADED = _artifact(skipped={"type": "boolean"})
_DESCRIBED = _artifact(created_at={"type": "string", "format": "date-time"})

_UPLOAD_ANSWERS = {("200", "application/json"): _UPLOADED, ("201", "application/json"): _UPLOADED}
_UPLOAD_ERRORS = (InvalidFileName, IncompleteBody, TooLarge, StorageFull)
_LOCATION = answered(["Location"], [200, 201])

_CONDITIONS = [header(name, TEXT) for name in ("Range", "If-Range", "If-Match", "If-None-Match")]
_DOWNLOAD_HEADERS = [
    *answered(["ETag"], [200, 206, 304]),
    *answered(["Content-Disposition", "Repr-Digest", "Accept-Ranges"], [200, 206]),
    *answered(["Content-Range"], [206, 416]),
]
_DOWNLOAD_ANSWERS = {
    ("200", "application/octet-stream"): OpenApiTypes.BINARY,
    ("206", "application/octet-stream"): OpenApiTypes.BINARY,
    "304": nothing("The client has it."),
}
_FIND_ERRORS = (InvalidDigest, ArtifactNotFound)
_DOWNLOAD_ERRORS = (*_FIND_ERRORS, PreconditionFailed, InvalidRange, ArtifactCorrupt)


describe(
    "artifacts.views.CollectionView",
    post=extend_schema(
        operation_id="upload_of_unknown_digest",
        parameters=[*file_name(), *_LOCATION],
        request=BINARY,
        responses=_UPLOAD_ANSWERS | problems(*_UPLOAD_ERRORS, LengthRequired),
        tags=["artifacts"],
    ),
)

describe(
    "artifacts.views.ArtifactView",
    put=extend_schema(
        operation_id="upload",
        parameters=[digest(), *file_name(), *_LOCATION],
        request=BINARY,
        responses=_UPLOAD_ANSWERS | problems(*_UPLOAD_ERRORS, InvalidDigest, DigestMismatch),
        tags=["artifacts"],
    ),
    get=extend_schema(
        operation_id="download",
        parameters=[digest(), *_CONDITIONS, *_DOWNLOAD_HEADERS],
        responses=_DOWNLOAD_ANSWERS | problems(*_DOWNLOAD_ERRORS),
        tags=["artifacts"],
    ),
)

describe(
    "artifacts.views.DescribeView",
    get=extend_schema(
        operation_id="describe",
        parameters=[digest()],
        responses={("200", "application/json"): _DESCRIBED} | problems(*_FIND_ERRORS),
        tags=["artifacts"],
    ),
)

describe(
    "artifacts.views.DownloadView",
    get=extend_schema(
        operation_id="download_by_browser",
        parameters=[digest(), *file_name(), *_CONDITIONS, *_DOWNLOAD_HEADERS],
        responses=_DOWNLOAD_ANSWERS | problems(*_DOWNLOAD_ERRORS, InvalidFileName),
        tags=["artifacts"],
    ),
)
