"""HEAD and OPTIONS, which drf-spectacular leaves out."""

from copy import deepcopy
from typing import Any

from artifacts.schema.headers import described

_Document = dict[str, Any]


def add_bodiless(result: _Document, **_: Any) -> _Document:
    """A postprocessing hook: describe HEAD by what GET answers, less its body; and tus's own."""
    for path, operations in result["paths"].items():
        if "get" in operations:
            operations["head"] = _head_of(operations["get"])
            if "{digest}" in path:
                operations["head"]["description"] = "The headers alone. It makes no event. Either role will do."
        if path == "/uploads/{upload_id}":
            operations["head"] = _progress(operations["delete"], operations["patch"])
        if path == "/uploads/":
            operations["options"] = _abilities()
    return result


def _head_of(get: _Document) -> _Document:
    head = deepcopy(get)
    head["operationId"] += "_head"
    head["summary"] += ": headers alone"
    head["description"] = "As GET, without the body."
    for status in ("206", "416"):  # no part of nothing
        head["responses"].pop(status, None)
    parameters = [one for one in head.get("parameters", []) if one["name"] not in {"Range", "If-Range"}]
    if parameters:
        head["parameters"] = parameters
    for response in head["responses"].values():
        response.pop("content", None)
    return head


def _progress(delete: _Document, patch: _Document) -> _Document:
    """How an upload stands, which is finished by asking when it has all its bytes."""
    head = deepcopy(delete)
    head |= {
        "operationId": "resumable_progress",
        "summary": "How an upload stands",
        "description": "Where to go on; an upload that has all its bytes is finished by asking.",
    }
    del head["responses"]["204"]
    for status in ("422", "507"):
        head["responses"][status] = deepcopy(patch["responses"][status])
    for response in head["responses"].values():
        response.pop("content", None)
    always = ("Upload-Offset", "Upload-Length", "Tus-Resumable", "Cache-Control")
    maybe = ("Upload-Expires", "Upload-Metadata", "Content-Location", "Repr-Digest", "Upload-Skipped")
    head["responses"]["200"] = {
        "description": "How it stands.",
        "headers": {name: described(name) for name in always}
        | {name: described(name, required=False) for name in maybe},
    }
    return head


def _abilities() -> _Document:
    headers = {name: described(name) for name in ("Tus-Version", "Tus-Extension", "Tus-Resumable", "Tus-Max-Size")}
    return {
        "operationId": "resumable_abilities",
        "summary": "What this server can do",
        "description": "No token is asked for.",
        "tags": ["uploads"],
        "security": [{}],
        "responses": {"204": {"description": "What this server can do.", "headers": headers}},
    }
