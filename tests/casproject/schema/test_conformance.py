"""That what holds answers against the document would notice one that does not match."""

import json
from typing import Any

import pytest
from django.http import HttpResponse, HttpResponseBase, JsonResponse

from artifacts.api_errors import PROBLEM, problem
from tests.conformance import violations
from tests.factories import digest_of

PATH = f"/artifacts/{digest_of(b'x')}"
UPLOADED = {"digest": str(digest_of(b"x")), "size_bytes": 1, "file_name": "", "skipped": False}


def uploaded(**further: Any) -> JsonResponse:
    return JsonResponse({**UPLOADED, **further}, status=201, headers={"Location": PATH})


def refused(status: int, code: str, **headers: str) -> HttpResponse:
    content = json.dumps(problem(status, code, "…"))
    return HttpResponse(content, status=status, content_type=PROBLEM, headers=headers)


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("PUT", uploaded()),
        ("PUT", refused(422, "digest_mismatch")),
        ("PUT", refused(503, "unavailable", **{"Retry-After": "5"})),
        ("PATCH", refused(405, "method_not_allowed")),
    ],
)
def test_right_answers(method: str, answer: HttpResponseBase) -> None:
    assert violations(method, PATH, answer) == []


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (uploaded(size_bytes="1"), "$.size_bytes: '1' is not of type 'integer'"),
        (uploaded(further=1), "Additional properties"),
        (JsonResponse(UPLOADED, status=201), "Location is missing"),
        (HttpResponse("{}", status=201, headers={"Location": PATH}), "Content-Type is 'text/html'"),
        (HttpResponse(status=302), "302, which is not described"),
        (refused(422, "digest_wrong"), "'digest_wrong' is not one of"),
        (refused(503, "unavailable"), "Retry-After is missing"),
        (refused(503, "unavailable", **{"Retry-After": "soon"}), "Retry-After is 'soon'"),
        (refused(404, "no_such_thing"), "'no_such_thing' is not one of"),
    ],
)
def test_wrong_answers(answer: HttpResponseBase, problem: str) -> None:
    assert problem in " ".join(violations("PUT", PATH, answer))


def test_addresses_outside_the_document_are_not_looked_at() -> None:
    assert violations("GET", "/admin/", HttpResponse(status=418)) == []
