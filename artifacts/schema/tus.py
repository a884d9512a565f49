"""Resumable uploads."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema

from artifacts.exceptions import (
    DigestMismatch,
    IncompleteBody,
    InvalidDigest,
    InvalidFileName,
    InvalidHeader,
    InvalidMetadata,
    OffsetMismatch,
    StorageFull,
    TooLarge,
    UnsupportedMediaType,
    UnsupportedVersion,
    UploadBusy,
    UploadExpired,
    UploadNotFound,
)
from artifacts.schema.parts import NUMBER, answered, describe, header, nothing, problems
from artifacts.tus import CONTENT_TYPE, MAX_METADATA, VERSION

_VERSION = header("Tus-Resumable", {"type": "string", "enum": [VERSION]}, required=True)
_UPLOAD_ID = OpenApiParameter("upload_id", {"type": "string", "format": "uuid"}, OpenApiParameter.PATH)
_BODY = {CONTENT_TYPE: OpenApiTypes.BINARY}
_FINDING = (UploadNotFound, UploadExpired, UnsupportedVersion)
_FINISHING = (DigestMismatch, UploadBusy, StorageFull)
_RECEIVING = (InvalidHeader, IncompleteBody, OffsetMismatch, TooLarge, UnsupportedMediaType)


describe(
    "artifacts.tus.CreationView",
    post=extend_schema(
        operation_id="resumable_begin",
        parameters=[
            _VERSION,
            header("Upload-Length", NUMBER, required=True),
            header("Upload-Metadata", {"type": "string", "maxLength": MAX_METADATA}),
            *answered(["Location", "Tus-Resumable"], [201]),
        ],
        request=_BODY,
        responses={"201": nothing("Begun.")}
        | problems(*_FINDING, *_RECEIVING, *_FINISHING, InvalidMetadata, InvalidDigest, InvalidFileName),
        tags=["uploads"],
    ),
)

describe(
    "artifacts.tus.UploadView",
    patch=extend_schema(
        operation_id="resumable_append",
        parameters=[
            _UPLOAD_ID,
            _VERSION,
            header("Upload-Offset", NUMBER, required=True),
            *answered(["Upload-Offset", "Tus-Resumable"], [204]),
        ],
        request=_BODY,
        responses={"204": nothing("Taken.")} | problems(*_FINDING, *_RECEIVING, *_FINISHING),
        tags=["uploads"],
    ),
    delete=extend_schema(
        operation_id="resumable_cancel",
        parameters=[_UPLOAD_ID, _VERSION, *answered(["Tus-Resumable"], [204])],
        responses={"204": nothing("Forgotten.")} | problems(*_FINDING, UploadBusy),
        tags=["uploads"],
    ),
)
