"""What every call has, put in when the rest is there, and what many have, told once: postprocessing hooks."""

from collections.abc import Iterator
from typing import Any

from artifacts.api_errors import PROBLEM
from artifacts.schema.headers import described

_Document = dict[str, Any]

_OF_ERRORS = {"401": "WWW-Authenticate", "423": "Retry-After", "429": "Retry-After", "503": "Retry-After"}
_MEMBERS = {
    "type": {"type": "string", "enum": ["about:blank"]},
    "title": {"type": "string", "description": "The status in words."},
    "status": {"type": "integer", "description": "The HTTP status."},
    "code": {"type": "string", "description": "Stable: what a client may act upon."},
    "detail": {"type": "string", "description": "For people; it may change."},
}


def add_headers(result: _Document, **_: Any) -> _Document:
    """The request's id in every answer, and what errors of a kind always have."""
    for path, operation, status, response in _responses(result):
        headers = response.setdefault("headers", {})
        names = ["X-Request-ID"]
        if status in _OF_ERRORS and operation["tags"] != ["service"]:
            names.append(_OF_ERRORS[status])
        if path.startswith("/uploads/"):
            names += ["Tus-Resumable", "Cache-Control", *(["Tus-Version"] if status == "412" else [])]
        headers |= {name: described(name) for name in names}
    return result


def share(result: _Document, **_: Any) -> _Document:
    """One schema of problems, one example of each, one description of a header that many answers have."""
    components = result["components"]
    headers = components.setdefault("headers", {})
    examples = components.setdefault("examples", {})
    components.setdefault("schemas", {})["Problem"] = {
        "type": "object",
        "description": "An error (RFC 9457).",
        "required": list(_MEMBERS),
        "properties": _MEMBERS,
        "additionalProperties": False,
    }
    for _path, _operation, _status, response in _responses(result):
        for name, header in response["headers"].items():
            if headers.setdefault(name, header) == header:
                response["headers"][name] = {"$ref": f"#/components/headers/{name}"}
        if problem := response.get("content", {}).get(PROBLEM):
            _share_problem(problem, examples)
    return result


def _share_problem(problem: _Document, examples: _Document) -> None:
    members = problem["schema"]["properties"]
    problem["schema"] = {
        "allOf": [
            {"$ref": "#/components/schemas/Problem"},
            {"properties": {name: {"enum": members[name]["enum"]} for name in ("status", "code")}},
        ]
    }
    references = {}
    for example in problem.get("examples", {}).values():
        code = example["value"]["code"]
        examples[code] = {"value": example["value"]}
        references[code] = {"$ref": f"#/components/examples/{code}"}
    if references:
        problem["examples"] = references


def _responses(result: _Document) -> Iterator[tuple[str, _Document, str, _Document]]:
    for path, operations in result["paths"].items():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                yield path, operation, status, response
