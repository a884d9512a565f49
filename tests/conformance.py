"""Holds real answers against the OpenAPI document."""

import json
import re
from functools import cache
from http import HTTPStatus
from typing import Any

import jsonschema
from django.http import HttpResponseBase

from artifacts.api_errors import PROBLEM
from casproject import openapi

# Errors that come before any call is found (docs/api.md).
_ANYWHERE = {400: "bad_request", 404: "not_found", 405: "method_not_allowed"}
_MANY = 1000  # digits
_WITHOUT_BODY = {204, 304}
_JSON = {"application/json", PROBLEM}


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(openapi.document())
    return document


@cache
def _paths() -> list[tuple[re.Pattern[str], str]]:
    """Each path as an expression; `/artifacts` without its last slash is the same."""
    return [
        (re.compile(re.sub(r"\{\w+\}", "[^/]+", path.removesuffix("/")) + ("/?" if path.endswith("/") else "")), path)
        for path in _document()["paths"]
    ]


def violations(method: str, path: str, answer: HttpResponseBase) -> list[str]:
    """What of this answer the document does not say; nothing where the address is none of the document's."""
    found = next((known for expression, known in _paths() if expression.fullmatch(path)), None)
    if found is None or _is_anywhere(answer) or "Access-Control-Allow-Methods" in answer:  # a preflight of CORS
        return []
    operation = _document()["paths"][found].get(method.lower())
    if operation is None:
        is_refused = method == "OPTIONS" or answer.status_code >= HTTPStatus.BAD_REQUEST
        return [] if is_refused else [f"{method} {found} is not described, and was answered"]
    described = operation["responses"].get(str(answer.status_code))
    if described is None:
        return [f"{method} {found} answered {answer.status_code}, which is not described"]
    what = f"{method} {found} {answer.status_code}"
    return [f"{what}: {problem}" for problem in [*_headers(described, answer), *_body(described, answer, method)]]


def _is_anywhere(answer: HttpResponseBase) -> bool:
    code = _ANYWHERE.get(answer.status_code)
    return code is not None and f'"code": "{code}"'.encode() in getattr(answer, "content", b"").replace(b'":"', b'": "')


def _headers(described: dict[str, Any], answer: HttpResponseBase) -> list[str]:
    problems = []
    for name, reference in described["headers"].items():
        header = _resolve(reference)
        if name == "X-Request-ID":
            continue  # the edge of the WSGI application gives it, which Django's test client goes past
        if name not in answer:
            problems += [f"{name} is missing"] if header.get("required") else []
        elif not _is_valid(answer[name], header["schema"]):
            problems.append(f"{name} is {answer[name]!r}")
    return problems


def _body(described: dict[str, Any], answer: HttpResponseBase, method: str) -> list[str]:
    contents = described.get("content")
    if method == "HEAD" or answer.status_code in _WITHOUT_BODY:
        return []
    if contents is None:
        return ["there is a body"] if getattr(answer, "content", b"") else []
    kind = answer.get("Content-Type", "").partition(";")[0]
    if kind not in contents:
        return [f"its Content-Type is {kind!r}"]
    if kind not in _JSON or answer.streaming:
        return []
    try:
        value = json.loads(answer.content, parse_int=_number)  # type: ignore[attr-defined]
    except ValueError:
        return ["its body is no JSON"]
    errors = _validator(json.dumps(contents[kind]["schema"])).iter_errors(value)
    return [f"{error.json_path}: {error.message}" for error in errors]


def _resolve(value: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in value:
        *_, kind, name = value["$ref"].split("/")
        value = _document()["components"][kind][name]
    return value


def _is_valid(text: str, schema: dict[str, Any]) -> bool:
    return not list(_validator(json.dumps(schema)).iter_errors(text))


@cache
def _validator(schema: str) -> Any:
    """Of a schema of OpenAPI 3.0, whose references are to the document."""
    return jsonschema.Draft4Validator({**_plain(json.loads(schema)), "components": _plain(_document()["components"])})


def _plain(value: Any) -> Any:
    """As JSON Schema has it, where `null` is a type and not a property."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    plain = {key: _plain(each) for key, each in value.items()}
    if plain.pop("nullable", None) is True:
        return {"anyOf": [plain, {"type": "null"}]}
    return plain


def _number(digits: str) -> int:
    """Whatever a payload has: Python reads no integer of many digits."""
    return int(digits[:_MANY])
