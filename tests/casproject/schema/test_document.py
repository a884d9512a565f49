"""The OpenAPI document: valid, complete, kept, and asked for without a token."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from artifacts.exceptions import ArtifactError, Busy
from casproject import openapi
from casproject.health import PROBES

KEPT = Path(settings.BASE_DIR) / "docs" / "openapi.yaml"

# Called by people in a browser, not by programs.
PAGES = ("/admin/", "/api/docs/")

Operations = Iterator[tuple[str, str, dict[str, Any]]]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(openapi.document())
    return schema


def operations(document: dict[str, Any]) -> Operations:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_document_is_valid_and_leaves_nothing_to_guess(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("spectacular", validate=True, fail_on_warn=True, format="openapi-json")
    assert json.loads(capsys.readouterr().out)["openapi"].startswith("3.")


def test_kept_document_is_that_of_the_code(tmp_path: Path) -> None:
    made = tmp_path / "openapi.yaml"
    call_command("spectacular", file=str(made))
    assert made.read_text() == KEPT.read_text(), "manage.py spectacular --file docs/openapi.yaml makes it anew"


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


def test_page_lets_in_nothing_but_its_own(client: Client) -> None:
    answer = client.get("/api/docs/")
    assert answer.status_code == 200
    policy = answer["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    text = answer.content.decode()
    assert "://" not in text
    for part in text.split("<script")[1:]:
        assert part.partition(">")[2].startswith("</script>")


def routes(patterns: list[URLPattern | URLResolver], before: str = "/") -> Iterator[str]:
    """Every address, as the document writes it."""
    for pattern in patterns:
        route = before + str(pattern.pattern).lstrip("^").replace("<str:", "{").replace(">", "}").replace("/?$", "/")
        if isinstance(pattern, URLResolver):
            yield from [route] if route in PAGES else routes(pattern.url_patterns, route)
        else:
            yield route


def test_every_address_is_described_or_a_page(document: dict[str, Any]) -> None:
    found = {*routes(get_resolver().url_patterns), *PROBES}
    assert found - set(PAGES) - {"/"} == set(document["paths"])
    assert set(PAGES) <= found


def test_every_call_is_described(document: dict[str, Any]) -> None:
    calls = {f"{method.upper()} {path}" for path, method, _ in operations(document)}
    of_transfers = {
        call for call in calls if not call.partition(" /")[2].startswith(("api/", *(p[1:] for p in PROBES)))
    }
    assert of_transfers == {
        "POST /artifacts/",
        "PUT /artifacts/{digest}",
        "GET /artifacts/{digest}",
        "HEAD /artifacts/{digest}",
        "GET /artifacts/{digest}/describe",
        "HEAD /artifacts/{digest}/describe",
        "GET /download/{digest}",
        "HEAD /download/{digest}",
        "OPTIONS /uploads/",
        "POST /uploads/",
        "HEAD /uploads/{upload_id}",
        "PATCH /uploads/{upload_id}",
        "DELETE /uploads/{upload_id}",
    }
    assert {f"{method} /api/{name}/" for method in ("GET", "HEAD") for name in ("events", "usage", "schema")} <= calls


def test_everything_has_a_description(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    for path, method, operation in operations(document):
        assert operation["summary"], (path, method)
        assert set(operation["tags"]) <= tags
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (path, method, parameter["name"])
        for status, response in operation["responses"].items():
            assert response["description"], (path, method, status)
    assert all(header["description"] for header in document["components"]["headers"].values())
    assert all(scheme["description"] for scheme in document["components"]["securitySchemes"].values())


def test_every_error_is_described_with_its_code_and_an_example(document: dict[str, Any]) -> None:
    described = set()
    for path, _, operation in operations(document):
        for status, response in operation["responses"].items():
            problem = response.get("content", {}).get("application/problem+json")
            assert int(status) < 400 or problem or "content" not in response or path == "/readyz"
            if problem and operation["tags"] != ["service"]:
                members = problem["schema"]["allOf"][1]["properties"]
                assert members["status"]["enum"] == [int(status)]
                assert set(problem["examples"]) == set(members["code"]["enum"])
                described |= {(int(status), code) for code in members["code"]["enum"]}
    kinds: list[type[ArtifactError]] = [ArtifactError, *ArtifactError.__subclasses__()]
    raised = {(kind.status, kind.code) for kind in kinds if kind is not Busy}
    of_django = {
        (400, "bad_request"),
        (400, "invalid_parameter"),
        (401, "not_authenticated"),
        (401, "authentication_failed"),
        (403, "permission_denied"),
        (406, "not_acceptable"),
        (429, "throttled"),
    }
    assert described == raised | of_django


def test_examples_are_what_they_are_examples_of(document: dict[str, Any]) -> None:
    for code, example in document["components"]["examples"].items():
        assert example["value"]["code"] == code
        assert example["value"]["detail"]


def test_every_transfer_needs_a_token(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        if path.startswith(("/artifacts/", "/download/", "/uploads/")) and method != "options":
            assert {"bearer": []} in operation["security"]
            assert ({"query": []} in operation["security"]) == path.startswith("/download/")
        elif path in {"/api/events/", "/api/usage/"}:
            assert operation["security"] == [{"password": []}, {"session": []}]
        else:
            assert {} in operation["security"]


def test_bodies_of_uploads_are_raw_bytes(document: dict[str, Any]) -> None:
    for path, method in (("/artifacts/", "post"), ("/artifacts/{digest}", "put"), ("/uploads/{upload_id}", "patch")):
        (content,) = document["paths"][path][method]["requestBody"]["content"].items()
        assert content[0].endswith("octet-stream")
        assert content[1]["schema"] == {"type": "string", "format": "binary"}
