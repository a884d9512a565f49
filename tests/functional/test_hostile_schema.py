"""What schemathesis makes of the OpenAPI document, sent to the real server: no 5xx, nothing that is not described."""

import json
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from artifacts.tokens import DOWNLOADER, UPLOADER
from artifacts.tus import CONTENT_TYPE
from casproject import openapi
from tests.factories import digest_of, make_token
from tests.functional.stack import SECONDS, LiveStack, Tenant

EXAMPLES = 25  # of each call
EXAMPLES_FOR_STAFF = 5  # whose passwords take long to check
CONTENT = b"what is there"
NEW = "new"  # stands for an upload that is begun for the call

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

schemathesis.serializer.alias(CONTENT_TYPE, "application/octet-stream")
SCHEMA = schemathesis.openapi.from_dict(json.loads(openapi.document()))
OPERATIONS = {result.ok().label: result.ok() for result in SCHEMA.get_all_operations() if isinstance(result, Ok)}
SERVICE = {"/livez", "/readyz", "/metrics", "/api/schema/"}
OF_STAFF = [label for label in OPERATIONS if label.partition(" ")[2] in {"/api/events/", "/api/usage/"}]
OF_SERVICE = [label for label in OPERATIONS if label.partition(" ")[2] in SERVICE]
OF_TRANSFERS = sorted(OPERATIONS.keys() - {*OF_STAFF, *OF_SERVICE})

TOKENS = ["uploader", "downloader", "none", "garbage", "expired", "limited", "no location", "another's location"]


def cases(label: str) -> st.SearchStrategy[Any]:
    """Calls as they should be, as they should not, and of something that is there."""
    strategy = OPERATIONS[label].as_strategy
    ways = [strategy(GenerationMode.POSITIVE)]
    if label != "OPTIONS /uploads/":  # which asks for nothing that could be wrong
        ways.append(strategy(GenerationMode.NEGATIVE))
    if "{digest}" in label:
        ways.append(strategy(path_parameters={"digest": str(digest_of(CONTENT))}).map(bare))
    if "{upload_id}" in label:
        start = {"Upload-Offset": "0"} if label.startswith("PATCH") else {}
        ways.append(strategy(path_parameters={"upload_id": NEW}, headers={"Tus-Resumable": "1.0.0", **start}))
    return st.one_of(ways)


def as_it_should_be(label: str) -> Any:
    """A call of an upload that is begun for it, which no luck makes wrong."""
    call: dict[str, Any] = {"path_parameters": {"upload_id": NEW}, "headers": {"Tus-Resumable": "1.0.0"}}
    if label.startswith("PATCH"):
        call["headers"] |= {"Upload-Offset": "0", "Content-Type": CONTENT_TYPE}
        call |= {"body": b"12345", "media_type": CONTENT_TYPE}
    return OPERATIONS[label].Case(**call)


def bare(case: Any) -> Any:
    """The call without what makes it depend on more than that."""
    for name in ("If-Match", "If-None-Match", "Content-Disposition"):
        case.headers.pop(name, None)
    for name in ("filename", "t"):  # the latter goes before the token that the test sends
        case.query.pop(name, None)
    return case


def authorization(tenant: Tenant, kind: str) -> dict[str, str]:
    claims: dict[str, dict[str, Any]] = {
        "expired": {"exp": 1},
        "limited": {"maxbytes": 3},
        "no location": {"secret-id": "nowhere"},
        "another's location": {"secret-id": "foreign"},
    }
    if kind == "none":
        return {}
    if kind == "garbage":
        return {"Authorization": "Bearer e30.e30.e30"}
    role = DOWNLOADER if kind == "downloader" else UPLOADER
    token = make_token(role, key=tenant.stack.private_key, **{"org-id": tenant.organization, **claims.get(kind, {})})
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("label", OF_TRANSFERS)
def test_answers_are_those_that_are_described(stack: LiveStack, tenant: Tenant, label: str) -> None:
    assert tenant.put(CONTENT).ok
    tokens = {kind: authorization(tenant, kind) for kind in TOKENS}
    begin = {**tokens["uploader"], "Tus-Resumable": "1.0.0", "Upload-Length": "5"}
    right = "downloader" if label.startswith(("GET", "HEAD /artifacts", "HEAD /download")) else "uploader"
    statuses = set()
    with requests.Session() as session:

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=cases(label), other=st.sampled_from([kind for kind in TOKENS if kind != right]))
        def send(case: Any, other: str) -> None:
            call(case, other, right)

        def call(case: Any, *kinds: str) -> None:
            if case.path_parameters.get("upload_id") == NEW:
                begun = session.post(f"{stack.url}/uploads/", headers=begin, timeout=SECONDS)
                case.path_parameters["upload_id"] = begun.headers["Location"].rpartition("/")[2]
            for kind in kinds:
                answer = case.call(stack.url, session, headers=tokens[kind], timeout=SECONDS)
                statuses.add(answer.status_code)
                case.validate_response(answer, checks=CHECKS)

        send()
        if "{upload_id}" in label:
            call(as_it_should_be(label), "garbage", right)
    assert tenant.get(CONTENT).content == CONTENT
    assert statuses & {200, 201, 204}, f"nothing was ever done: {statuses}"
    assert label.startswith("OPTIONS") or 401 in statuses


@pytest.fixture(scope="module")
def staff(_stack: LiveStack) -> tuple[str, str]:
    """Name and password of a user who may see everything."""
    name, password = "schema-staff", "quite-a-secret-1"
    code = (
        f"from django.contrib.auth.models import User; User.objects.create_superuser({name!r}, password={password!r})"
    )
    _stack.manage("shell", "--command", code)
    return name, password


@pytest.mark.parametrize("label", OF_STAFF)
def test_answers_to_staff_are_those_that_are_described(
    stack: LiveStack, tenant: Tenant, staff: tuple[str, str], label: str
) -> None:
    assert tenant.put(CONTENT).ok
    tenant.wait_for_published(1)
    statuses = set()

    @settings(
        max_examples=EXAMPLES_FOR_STAFF,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of([OPERATIONS[label].as_strategy(mode) for mode in GenerationMode]))
    def send(case: Any) -> None:
        for auth in (staff, ("nobody", "at all"), None):
            answer = case.call(stack.url, auth=auth, timeout=SECONDS)
            statuses.add(answer.status_code)
            case.validate_response(answer, checks=CHECKS)

    send()
    plain = OPERATIONS[label].Case()
    answer = plain.call(stack.url, auth=staff, timeout=SECONDS)
    plain.validate_response(answer, checks=CHECKS)
    assert answer.status_code == 200
    assert {400, 401} <= statuses


@pytest.mark.parametrize("label", OF_SERVICE)
def test_answers_of_the_service_are_those_that_are_described(stack: LiveStack, label: str) -> None:
    case = OPERATIONS[label].Case()
    answer = case.call(stack.url, timeout=SECONDS)
    case.validate_response(answer, checks=CHECKS)
    assert answer.status_code == 200


def test_document_is_that_of_the_running_server(stack: LiveStack) -> None:
    assert requests.get(f"{stack.url}/api/schema/", timeout=SECONDS).json() == json.loads(openapi.document())
