"""What the descriptions of several calls share: how they are told, errors, parameters."""

from collections import defaultdict
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

from drf_spectacular.extensions import OpenApiViewExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema_view

from artifacts.api_errors import PROBLEM, problem
from artifacts.exceptions import (
    ArtifactError,
    InvalidRange,
    InvalidToken,
    LocationNotFound,
    StorageError,
    Unavailable,
    WrongOrganization,
    WrongRole,
)
from artifacts.schema.headers import DIGEST, UPLOAD_ID, header

DIGEST_PATTERN = "^sha256:[0-9a-f]{64}$"
TEXT = {"type": "string"}
BINARY = {"application/octet-stream": OpenApiTypes.BINARY}
BAD_REQUEST = {"bad_request": "The server does not take such a request."}
INTERNAL_ERROR = {ArtifactError.code: ArtifactError.detail}

# What any call with a token may come to.
ALWAYS: tuple[type[ArtifactError], ...] = (
    InvalidToken,
    WrongRole,
    WrongOrganization,
    LocationNotFound,
    ArtifactError,
    StorageError,
    Unavailable,
)

Responses = dict[Any, Any]


def describe(view: str, **methods: Any) -> None:
    """Tell drf-spectacular of a view, by its path, what `extend_schema` makes of each method."""

    def view_replacement(self: OpenApiViewExtension) -> Any:
        return extend_schema_view(**methods)(type("Described", (cast(type, self.target),), {}))

    members = {"__module__": __name__, "target_class": view, "view_replacement": view_replacement}
    type(f"{view} described", (OpenApiViewExtension,), members)


def problems(*kinds: type[ArtifactError]) -> Responses:
    """The errors of a call with a token, by status: those named and those that any such call may have."""
    found: dict[int, dict[str, str]] = defaultdict(dict, {400: dict(BAD_REQUEST)})
    for kind in (*ALWAYS, *kinds):
        found[kind.status][kind.code] = str(kind(5)) if kind is InvalidRange else kind.detail
    return problems_of(found)


def problems_of(found: Mapping[int, Mapping[str, str]]) -> Responses:
    """Errors by status, as codes and what is said with them."""
    return {(str(status), PROBLEM): _problem(status, found[status]) for status in sorted(found)}


def _problem(status: int, codes: Mapping[str, str]) -> OpenApiResponse:
    members = {
        "type": {"type": "string", "enum": ["about:blank"]},
        "title": {"type": "string"},
        "status": {"type": "integer", "enum": [status]},
        "code": {"type": "string", "enum": sorted(codes), "description": "Stable: what a client may act upon."},
        "detail": {"type": "string", "description": "For people; it may change."},
    }
    schema = {"type": "object", "required": list(members), "properties": members, "additionalProperties": False}
    examples = [
        OpenApiExample(code, problem(status, code, detail), response_only=True)
        for code, detail in sorted(codes.items())
    ]
    return OpenApiResponse(schema, f"{HTTPStatus(status).phrase}: {', '.join(sorted(codes))}.", examples)


def nothing(description: str) -> OpenApiResponse:
    """An answer without a body."""
    return OpenApiResponse(None, description)


def digest() -> OpenApiParameter:
    schema = {"type": "string", "pattern": DIGEST_PATTERN, "example": DIGEST}
    return OpenApiParameter("digest", schema, OpenApiParameter.PATH, description="The artifact's SHA-256.")


def upload_id() -> OpenApiParameter:
    schema = {"type": "string", "format": "uuid", "example": UPLOAD_ID}
    return OpenApiParameter("upload_id", schema, OpenApiParameter.PATH, description="From the upload's `Location`.")


def file_name(description: str) -> OpenApiParameter:
    schema = {"type": "string", "maxLength": 255, "example": "hello.txt"}
    return OpenApiParameter("filename", schema, OpenApiParameter.QUERY, description=description)


def sent_file_name() -> list[OpenApiParameter]:
    """The two ways in which an upload's name comes."""
    described = "The file name: one path component, at most 255 UTF-8 bytes, kept exactly."
    return [file_name(described), header("Content-Disposition")]
