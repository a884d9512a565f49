"""HEAD and OPTIONS, which drf-spectacular leaves out: a postprocessing hook."""

from copy import deepcopy
from typing import Any

from artifacts.schema.parts import NUMBER, TEXT

_Document = dict[str, Any]


def add_bodiless(result: _Document, **_: Any) -> _Document:
    """Describe HEAD by what GET answers, less its body; and tus's own."""
    for path, operations in result["paths"].items():
        if "get" in operations:
            operations["head"] = _head_of(operations["get"])
        if path == "/uploads/{upload_id}":
            operations["head"] = _progress(operations["delete"], operations["patch"])
        if path == "/uploads/":
            operations["options"] = _abilities()
    return result


def _head_of(get: _Document, *left_out: str) -> _Document:
    head = deepcopy(get)
    head["operationId"] += "_head"
    for status in ("206", "416"):  # no part of nothing
        head["responses"].pop(status, None)
    head["parameters"] = [one for one in head["parameters"] if one["name"] not in {"Range", "If-Range"}]
    for response in head["responses"].values():
        response.pop("content", None)
    return head


def _progress(delete: _Document, patch: _Document) -> _Document:
    """How an upload stands, which is finished by asking when it has all its bytes."""
    head = deepcopy(delete)
    head["operationId"] = "resumable_progress"
    del head["responses"]["204"]
    for status in ("422", "507"):
        head["responses"][status] = deepcopy(patch["responses"][status])
    for response in head["responses"].values():
        response.pop("content", None)
    length = {"schema": NUMBER, "required": True}
    head["responses"]["200"] = {
        "description": "How it stands.",
        "headers": {
            "Upload-Offset": length,
            "Upload-Length": length,
            "Tus-Resumable": {"schema": TEXT, "required": True},
        },
    }
    return head


def _abilities() -> _Document:
    headers = {name: {"schema": TEXT, "required": True} for name in ("Tus-Version", "Tus-Extension", "Tus-Resumable")}
    return {
        "operationId": "resumable_abilities",
        "tags": ["uploads"],
        "security": [{}],
        "responses": {"204": {"description": "What this server can do.", "headers": headers}},
    }
