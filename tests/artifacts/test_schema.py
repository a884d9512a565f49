"""The OpenAPI document: valid, complete, and asked for without a token."""

import json
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from artifacts.exceptions import ArtifactError, Busy
from artifacts.schema import PATHS
from casproject import openapi


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(openapi.document())
    return schema


def test_document_is_valid_and_leaves_nothing_to_guess(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("spectacular", validate=True, fail_on_warn=True, format="openapi-json")
    assert json.loads(capsys.readouterr().out)["openapi"].startswith("3.")


def test_document_is_served_without_a_token(client: Client) -> None:
    answer = client.get("/api/schema/")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/vnd.oai.openapi+json"
    assert answer.json()["info"]["title"] == "Artifact CAS"
    assert client.post("/api/schema/").status_code == 405


def test_document_is_made_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    openapi.document()

    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("it is made again")

    monkeypatch.setattr("drf_spectacular.generators.SchemaGenerator.get_schema", fail)
    assert client.get("/api/schema/").status_code == 200


def test_every_call_of_the_transfer_api_is_described(document: dict[str, Any]) -> None:
    calls = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    assert calls == {
        ("POST", "/artifacts/"),
        ("PUT", "/artifacts/{digest}"),
        ("GET", "/artifacts/{digest}"),
        ("HEAD", "/artifacts/{digest}"),
        ("GET", "/artifacts/{digest}/describe"),
        ("HEAD", "/artifacts/{digest}/describe"),
        ("GET", "/download/{digest}"),
        ("HEAD", "/download/{digest}"),
        ("OPTIONS", "/uploads/"),
        ("POST", "/uploads/"),
        ("HEAD", "/uploads/{upload_id}"),
        ("PATCH", "/uploads/{upload_id}"),
        ("DELETE", "/uploads/{upload_id}"),
    }
    assert all(path.startswith(PATHS) for _, path in calls)


def test_every_error_is_described_with_its_code(document: dict[str, Any]) -> None:
    described = set()
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                problem = response.get("content", {}).get("application/problem+json")
                if problem:
                    members = problem["schema"]["properties"]
                    assert members["status"]["enum"] == [int(status)]
                    described |= {(int(status), code) for code in members["code"]["enum"]}
                assert int(status) < 400 or problem or "content" not in response
    raised = {(kind.status, kind.code) for kind in ArtifactError.__subclasses__() if kind is not Busy}
    assert described == raised | {(400, "bad_request")}


def test_every_call_but_one_needs_a_token(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method != "options":
                assert {"bearer": []} in operation["security"]
                assert ({"query": []} in operation["security"]) == path.startswith("/download/")


def test_bodies_of_uploads_are_raw_bytes(document: dict[str, Any]) -> None:
    for path, method in (("/artifacts/", "post"), ("/artifacts/{digest}", "put"), ("/uploads/{upload_id}", "patch")):
        (content,) = document["paths"][path][method]["requestBody"]["content"].items()
        assert content[0].endswith("octet-stream")
        assert content[1]["schema"] == {"type": "string", "format": "binary"}
