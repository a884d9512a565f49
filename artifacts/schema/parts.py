"""What the descriptions of several calls share: errors, parameters, headers."""

from collections import defaultdict
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, cast

from drf_spectacular.extensions import OpenApiViewExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema_view

from artifacts.api_errors import PROBLEM
from artifacts.exceptions import (
    ArtifactError,
    InvalidToken,
    LocationNotFound,
    StorageError,
    Unavailable,
    WrongOrganization,
    WrongRole,
)

DIGEST_PATTERN = "^sha256:[0-9a-f]{64}$"
NUMBER = {"type": "string", "pattern": "^[0-9]{1,18}$"}  # as headers have it
TEXT = {"type": "string"}
BINARY = {"application/octet-stream": OpenApiTypes.BINARY}

# What any call with a token may come to.
ALWAYS: tuple[type[ArtifactError], ...] = (
    InvalidToken,
    WrongRole,
    WrongOrganization,
    LocationNotFound,
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
    """The errors of a call, by status: those named and those that any call may have."""
    codes: dict[int, list[str]] = defaultdict(list, {400: ["bad_request"]})
    for kind in (*ALWAYS, *kinds):
        codes[kind.status].append(kind.code)
    return {(str(status), PROBLEM): _problem(status, names) for status, names in sorted(codes.items())}


def _problem(status: int, codes: list[str]) -> OpenApiResponse:
    members = {
        "type": {"type": "string", "enum": ["about:blank"]},
        "title": {"type": "string"},
        "status": {"type": "integer", "enum": [status]},
        "code": {"type": "string", "enum": sorted(codes)},
        "detail": {"type": "string"},
    }
    schema = {"type": "object", "required": list(members), "properties": members, "additionalProperties": False}
    return OpenApiResponse(schema, HTTPStatus(status).phrase)


def nothing(description: str) -> OpenApiResponse:
    """An answer without a body."""
    return OpenApiResponse(None, description)


def digest() -> OpenApiParameter:
    schema = {"type": "string", "pattern": DIGEST_PATTERN}
    return OpenApiParameter("digest", schema, OpenApiParameter.PATH)


def file_name() -> list[OpenApiParameter]:
    """The two ways in which a name comes."""
    return [
        OpenApiParameter("filename", {"type": "string", "maxLength": 255}, OpenApiParameter.QUERY),
        header("Content-Disposition", TEXT),
    ]


def header(name: str, schema: dict[str, Any], *, required: bool = False) -> OpenApiParameter:
    """A header of the request."""
    return OpenApiParameter(name, schema, OpenApiParameter.HEADER, required=required)


def answered(names: Iterable[str], statuses: list[int], *, required: bool = True) -> list[OpenApiParameter]:
    """Headers of the answers with these statuses."""
    return [
        OpenApiParameter(
            name, TEXT, OpenApiParameter.HEADER, required=required, response=[str(code) for code in statuses]
        )
        for name in names
    ]
