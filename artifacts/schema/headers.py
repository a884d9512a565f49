"""Headers, each described once: those of requests and those of answers."""

from collections.abc import Iterable
from typing import Any

from drf_spectacular.utils import OpenApiParameter

from artifacts.tus import EXTENSIONS, MAX_METADATA, VERSION

DIGITS = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # of b"hello"
DIGEST = f"sha256:{DIGITS}"
UPLOAD_ID = "6d1f1c9e-7f0e-4a50-8a06-0a1c0a6f2f2b"

_TEXT = {"type": "string"}
_NUMBER = {"type": "string", "pattern": "^[0-9]{1,18}$"}  # as headers have it
_DATE = "Sat, 28 Nov 2026 08:00:00 GMT"

Header = tuple[dict[str, Any], str, str]  # schema, description, example

_REQUEST: dict[str, Header] = {
    "Content-Disposition": (
        _TEXT,
        "The file name (RFC 6266), when there is no `filename` in the query; `filename*` goes before `filename`.",
        'attachment; filename="hello.txt"',
    ),
    "Range": (_TEXT, "One range of bytes (RFC 9110); of several the whole is answered.", "bytes=0-4"),
    "If-Range": (_TEXT, "The range only if the artifact has this ETag, else the whole.", f'"{DIGEST}"'),
    "If-Match": (_TEXT, "412 unless the artifact has one of these ETags.", f'"{DIGEST}"'),
    "If-None-Match": (_TEXT, "304 if the artifact has one of these ETags.", f'"{DIGEST}"'),
    "Tus-Resumable": ({"type": "string", "enum": [VERSION]}, "The version of tus.", VERSION),
    "Upload-Length": (_NUMBER, "Bytes of the whole artifact.", "5"),
    "Upload-Offset": (_NUMBER, "Where this piece begins: as many bytes as the server has.", "0"),
    "Upload-Metadata": (
        {"type": "string", "maxLength": MAX_METADATA},
        "Pairs of a key and a base64 value, separated by commas. `filename` and `digest` (`sha256:<hex>`) are used.",
        "filename aGVsbG8udHh0",
    ),
}

_ANSWER: dict[str, Header] = {
    "Location": (_TEXT, "The address of what was made or found.", f"/artifacts/{DIGEST}"),
    "Content-Location": (_TEXT, "The artifact's address, once the upload is finished.", f"/artifacts/{DIGEST}"),
    "ETag": (_TEXT, "The digest, in quotes.", f'"{DIGEST}"'),
    "Accept-Ranges": ({"type": "string", "enum": ["bytes"]}, "A range of bytes may be asked for.", "bytes"),
    "Content-Range": (_TEXT, "Which bytes these are, of how many; with 416 of how many.", "bytes 0-4/5"),
    "Content-Disposition": (
        _TEXT,
        "An attachment, with the file name if it has one (RFC 6266).",
        'attachment; filename="hello.txt"',
    ),
    "Repr-Digest": (
        _TEXT,
        "The digest as RFC 9530 writes it.",
        "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:",
    ),
    "Cache-Control": (_TEXT, "Whether the answer may be kept.", "no-store"),
    "Retry-After": (_NUMBER, "Seconds after which to try again.", "5"),
    "WWW-Authenticate": (_TEXT, "How to authenticate.", 'Bearer realm="artifact-cas", error="invalid_token"'),
    "Link": (
        _TEXT,
        "The next page (RFC 8288); absent at the end.",
        '<https://cas.example.com/api/events/?cursor=…>; rel="next"',
    ),
    "Tus-Resumable": ({"type": "string", "enum": [VERSION]}, "The version of tus.", VERSION),
    "Tus-Version": (_TEXT, "The versions of tus that the server speaks.", VERSION),
    "Tus-Extension": (_TEXT, "The extensions of tus that the server has.", EXTENSIONS),
    "Tus-Max-Size": (_NUMBER, "Bytes of the largest upload.", "107374182400"),
    "Upload-Offset": (_NUMBER, "Bytes that the server has.", "5"),
    "Upload-Length": (_NUMBER, "Bytes of the whole artifact.", "5"),
    "Upload-Metadata": (_TEXT, "As the upload was begun with.", "filename aGVsbG8udHh0"),
    "Upload-Expires": (_TEXT, "When the upload is given up if nothing comes; absent once it is finished.", _DATE),
    "Upload-Skipped": (
        {"type": "string", "enum": ["true", "false"]},
        "Whether the artifact was there already, once the upload is finished; absent if an older version finished it.",
        "false",
    ),
    "X-Request-ID": (_TEXT, "The request's own `X-Request-ID`, or one made for it; the logs have it too.", "5f0c2a41"),
}


def header(name: str, *, required: bool = False) -> OpenApiParameter:
    """A header of the request."""
    schema, description, example = _REQUEST[name]
    schema = {**schema, "example": example}
    return OpenApiParameter(name, schema, OpenApiParameter.HEADER, required=required, description=description)


def answered(names: Iterable[str], statuses: Iterable[int], *, required: bool = True) -> list[OpenApiParameter]:
    """Headers of the answers with these statuses."""
    return [
        OpenApiParameter(
            name,
            {**_ANSWER[name][0], "example": _ANSWER[name][2]},
            OpenApiParameter.HEADER,
            required=required,
            description=_ANSWER[name][1],
            response=[str(status) for status in statuses],
        )
        for name in names
    ]


def described(name: str, *, required: bool = True) -> dict[str, Any]:
    """A header of an answer, as the document has it."""
    schema, description, example = _ANSWER[name]
    return {"schema": {**schema, "example": example}, "description": description, "required": required}
