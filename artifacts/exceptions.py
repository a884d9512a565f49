"""What can go wrong with a transfer, each with its HTTP status and stable code (docs/api.md)."""

from typing import ClassVar


class ArtifactError(Exception):
    """Base of all: `status` is an HTTP status, `code` is stable for clients, `detail` is safe to show them."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    detail: ClassVar[str] = "The server failed to answer this request."

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.detail)


class InvalidDigest(ArtifactError):
    status = 400
    code = "invalid_digest"
    detail = "A digest is 'sha256:' followed by 64 lower-case hexadecimal digits."


class InvalidFileName(ArtifactError):
    status = 400
    code = "invalid_filename"
    detail = (
        "A file name is one path component of at most 255 UTF-8 bytes, "
        "without control or bidirectional-override characters."
    )


class InvalidHeader(ArtifactError):
    status = 400
    code = "invalid_header"
    detail = "A header of the request is missing or cannot be read."


class InvalidMetadata(ArtifactError):
    status = 400
    code = "invalid_metadata"
    detail = "Upload-Metadata is pairs of a key and a base64 value, separated by commas; no key comes twice."


class IncompleteBody(ArtifactError):
    status = 400
    code = "incomplete_body"
    detail = "The body ended before its announced length."


class InvalidToken(ArtifactError):
    status = 401
    code = "invalid_token"
    detail = "A valid bearer token is required."


class WrongRole(ArtifactError):
    status = 403
    code = "wrong_role"
    detail = "The token's role does not allow this."


class WrongOrganization(ArtifactError):
    status = 403
    code = "wrong_organization"
    detail = "This location belongs to another organization."


class ArtifactNotFound(ArtifactError):
    status = 404
    code = "artifact_not_found"
    detail = "There is no such artifact in this location."


class LocationNotFound(ArtifactError):
    status = 404
    code = "location_not_found"
    detail = "The token names a location that does not exist."


class UploadNotFound(ArtifactError):
    status = 404
    code = "upload_not_found"
    detail = "There is no such upload."


class OffsetMismatch(ArtifactError):
    status = 409
    code = "offset_mismatch"
    detail = "The upload does not stand at this offset."


class UploadExpired(ArtifactError):
    status = 410
    code = "upload_expired"
    detail = "The upload has expired; begin another."


class LengthRequired(ArtifactError):
    status = 411
    code = "length_required"
    detail = "A body of unknown digest needs a Content-Length: a cut-off one could not be told from a whole one."


class PreconditionFailed(ArtifactError):
    status = 412
    code = "precondition_failed"
    detail = "What is stored is not what the request's If-Match asks for."


class UnsupportedVersion(ArtifactError):
    status = 412
    code = "unsupported_version"
    detail = "Tus-Resumable must be a version of the protocol that this server speaks."


class TooLarge(ArtifactError):
    status = 413
    code = "too_large"
    detail = "The artifact is larger than allowed."


class UnsupportedMediaType(ArtifactError):
    status = 415
    code = "unsupported_media_type"
    detail = "The bytes of an upload come as application/offset+octet-stream."


class InvalidRange(ArtifactError):
    status = 416
    code = "invalid_range"
    detail = "The range lies outside the artifact."

    def __init__(self, size: int) -> None:
        super().__init__(f"The range lies outside the artifact's {size} bytes.")
        self.size = size


class DigestMismatch(ArtifactError):
    status = 422
    code = "digest_mismatch"
    detail = "The body does not have the digest it was sent under."


class UploadBusy(ArtifactError):
    status = 423
    code = "upload_busy"
    detail = "Another request is making an artifact of this upload; try again."


class ArtifactCorrupt(ArtifactError):
    status = 502
    code = "artifact_corrupt"
    detail = "What is stored does not match its digest; upload it again to replace it."


class StorageError(ArtifactError):
    status = 502
    code = "storage_error"
    detail = "The location's storage failed."


class Unavailable(ArtifactError):
    status = 503
    code = "unavailable"
    detail = "The database is not available; try again."


class Busy(Unavailable):
    """Refused rather than queued behind clients that may never finish."""

    detail = "The server has as many transfers under way as it takes; try again."


class StorageFull(ArtifactError):
    status = 507
    code = "storage_full"
    detail = "The location has no room for this artifact."
