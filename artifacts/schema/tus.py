"""Resumable uploads."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema

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
from artifacts.schema.headers import answered, header
from artifacts.schema.parts import describe, nothing, problems, upload_id
from artifacts.tus import CONTENT_TYPE

_VERSION = header("Tus-Resumable", required=True)
_BODY = {CONTENT_TYPE: OpenApiTypes.BINARY}
_FINDING = (UploadNotFound, UploadExpired, UnsupportedVersion)
_FINISHING = (DigestMismatch, UploadBusy, StorageFull)
_RECEIVING = (InvalidHeader, IncompleteBody, OffsetMismatch, TooLarge, UnsupportedMediaType)
_FINISHED = ["Content-Location", "Repr-Digest", "Upload-Skipped"]


describe(
    "artifacts.tus.CreationView",
    post=extend_schema(
        operation_id="resumable_begin",
        summary="Begin a resumable upload",
        description="With a body, that is its first piece. With a `digest` in the metadata, an artifact that is there "
        "already finishes it at once: `Upload-Offset` is its length then.",
        parameters=[
            _VERSION,
            header("Upload-Length", required=True),
            header("Upload-Metadata"),
            *answered(["Location", "Tus-Resumable"], [201]),
            *answered(["Upload-Offset", "Upload-Expires", *_FINISHED], [201], required=False),
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
        summary="Send a piece",
        description="The last one makes the artifact, whose digest is in the answer then.",
        parameters=[
            upload_id(),
            _VERSION,
            header("Upload-Offset", required=True),
            *answered(["Upload-Offset", "Tus-Resumable"], [204]),
            *answered(["Upload-Expires", *_FINISHED], [204], required=False),
        ],
        request=_BODY,
        responses={"204": nothing("Taken.")} | problems(*_FINDING, *_RECEIVING, *_FINISHING),
        tags=["uploads"],
    ),
    delete=extend_schema(
        operation_id="resumable_cancel",
        summary="Give an upload up",
        description="What was uploaded is dropped, unless it has become an artifact.",
        parameters=[upload_id(), _VERSION, *answered(["Tus-Resumable"], [204])],
        responses={"204": nothing("Forgotten.")} | problems(*_FINDING, UploadBusy),
        tags=["uploads"],
    ),
)
