"""Every error of the API: status, code, form, and what it must not tell."""

import errno
import io
import os
import re
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as project_settings
from django.db import OperationalError, connection
from django.test import Client, RequestFactory
from rest_framework import exceptions

from artifacts import services
from artifacts.api_errors import exception_handler
from artifacts.exceptions import ArtifactError, Busy
from artifacts.models import Location
from artifacts.tokens import DOWNLOADER, UPLOADER
from tests.factories import ORGANIZATION, bearer, digest_of, make_token

pytestmark = pytest.mark.django_db

CONTENT = b"some content"
URL = f"/artifacts/{digest_of(CONTENT)}"


def assert_problem(answer: Any, status: int, code: str) -> None:
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "code", "detail"}
    assert (problem["status"], problem["code"], problem["type"]) == (status, code, "about:blank")
    assert problem["detail"]
    assert "Traceback" not in problem["detail"]


@pytest.mark.parametrize(
    ("method", "path", "role", "status", "code"),
    [
        ("PUT", "/artifacts/sha256:123", UPLOADER, 400, "invalid_digest"),
        ("GET", "/artifacts/nonsense", DOWNLOADER, 400, "invalid_digest"),
        ("HEAD", "/artifacts/nonsense", DOWNLOADER, 400, "invalid_digest"),
        ("GET", "/artifacts/nonsense/describe", DOWNLOADER, 400, "invalid_digest"),
        ("GET", "/download/nonsense", DOWNLOADER, 400, "invalid_digest"),
        ("PUT", f"{URL}?filename=a/b", UPLOADER, 400, "invalid_filename"),
        ("POST", "/artifacts/?filename=%00", UPLOADER, 400, "invalid_filename"),
        ("GET", f"/download/{digest_of(CONTENT)}?filename=%e2%80%ae", DOWNLOADER, 400, "invalid_filename"),
        ("PUT", URL, DOWNLOADER, 403, "wrong_role"),
        ("POST", "/artifacts/", DOWNLOADER, 403, "wrong_role"),
        ("GET", URL, UPLOADER, 403, "wrong_role"),
        ("GET", f"/download/{digest_of(CONTENT)}", UPLOADER, 403, "wrong_role"),
        ("GET", URL, "admin", 403, "wrong_role"),
        ("GET", URL, DOWNLOADER, 404, "artifact_not_found"),
        ("PATCH", URL, DOWNLOADER, 405, "method_not_allowed"),
        ("DELETE", URL, DOWNLOADER, 405, "method_not_allowed"),
        ("GET", "/artifacts/", DOWNLOADER, 405, "method_not_allowed"),
        ("GET", "/nowhere", DOWNLOADER, 404, "not_found"),
    ],
)
def test_wrong_request_has_its_code(
    client: Client, location: Location, method: str, path: str, role: str, status: int, code: str
) -> None:
    answer = client.generic(method, path, b"x" if method in {"PUT", "POST"} else b"", headers=bearer(role))
    if method == "HEAD":
        assert answer.status_code == status
    else:
        assert_problem(answer, status, code)


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Bearer x.y.z", "Basic YTpi", "Token"])
def test_missing_or_wrong_token_is_challenged(client: Client, location: Location, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = client.put(URL, CONTENT, headers=headers)
    assert_problem(answer, 401, "invalid_token")
    assert answer["WWW-Authenticate"] == 'Bearer realm="artifact-cas", error="invalid_token"'


def test_token_that_is_one_word_with_its_scheme_is_challenged(client: Client, location: Location) -> None:
    answer = client.put(URL, CONTENT, headers={"Authorization": f"bearer{make_token()}"})
    assert_problem(answer, 401, "invalid_token")


def test_scheme_of_the_token_may_be_written_anyhow(client: Client, location: Location) -> None:
    assert client.put(URL, CONTENT, headers={"Authorization": f"bEARER  {make_token()}"}).status_code == 201


def test_refused_token_is_repeated_nowhere(
    client: Client, location: Location, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    token = make_token(exp=1)
    answer = client.get(f"/download/{digest_of(CONTENT)}", {"t": token})
    assert_problem(answer, 401, "invalid_token")
    out, err = capfd.readouterr()
    for text in (answer.content.decode(), caplog.text, out, err):
        assert token not in text


def test_location_of_another_organization(client: Client, location: Location) -> None:
    location.organization = uuid.uuid4()
    location.save()
    assert_problem(client.put(URL, CONTENT, headers=bearer()), 403, "wrong_organization")


@pytest.mark.parametrize(
    ("claims", "named"),
    [
        ({"secret-id": "unknown"}, "backend 'FILESYSTEM', secret-id 'unknown'."),
        ({"backend": "AWS-S3"}, "backend 'AWS-S3', secret-id 'default'."),
        ({"secret-id": "x" * 1000}, f"backend 'FILESYSTEM', secret-id '{'x' * 100}'."),
    ],
)
def test_location_that_does_not_exist(client: Client, location: Location, claims: dict[str, Any], named: str) -> None:
    answer = client.put(URL, CONTENT, headers=bearer(**claims))
    assert_problem(answer, 404, "location_not_found")
    assert answer.json()["detail"] == f"The token names a location that does not exist: {named}"


@pytest.mark.parametrize(
    ("method", "path", "role", "named"),
    [
        ("PUT", URL, DOWNLOADER, "The token's role is 'downloader', and this takes 'uploader'."),
        ("POST", "/uploads/", DOWNLOADER, "The token's role is 'downloader', and this takes 'uploader'."),
        ("GET", URL, UPLOADER, "The token's role is 'uploader', and this takes 'downloader'."),
        ("HEAD", URL, "admin", ""),
        (
            "GET",
            f"{URL}/describe",
            "a" * 99,
            f"The token's role is '{'a' * 64}', and this takes 'uploader' or 'downloader'.",
        ),
    ],
)
def test_wrong_role_and_the_right_one_are_named(
    client: Client, location: Location, method: str, path: str, role: str, named: str
) -> None:
    answer = client.generic(method, path, headers={**bearer(role), "Tus-Resumable": "1.0.0"})
    assert answer.status_code == 403
    assert named == (answer.json()["detail"] if answer.content else "")


def test_short_body(client: Client, location: Location) -> None:
    wire: dict[str, Any] = {"wsgi.input": io.BytesIO(CONTENT), "CONTENT_LENGTH": "20"}
    answer = client.generic("PUT", URL, CONTENT, headers=bearer(), **wire)
    assert_problem(answer, 400, "incomplete_body")


def test_post_of_unknown_length(client: Client, location: Location) -> None:
    headers = {**bearer(), "Transfer-Encoding": "chunked"}
    wire: dict[str, Any] = {"wsgi.input": io.BytesIO(CONTENT)}
    assert_problem(client.generic("POST", "/artifacts/", CONTENT, headers=headers, **wire), 411, "length_required")


def test_post_without_any_length(client: Client, location: Location) -> None:
    assert_problem(client.generic("POST", "/artifacts/", b"", headers=bearer()), 411, "length_required")


def test_too_large_a_body(client: Client, location: Location) -> None:
    assert_problem(client.put(URL, CONTENT, headers=bearer(maxbytes=5)), 413, "too_large")


def test_range_outside(client: Client, location: Location) -> None:
    client.put(URL, CONTENT, headers=bearer())
    answer = client.get(URL, headers={**bearer(DOWNLOADER), "Range": "bytes=12-"})
    assert_problem(answer, 416, "invalid_range")
    assert answer["Content-Range"] == "bytes */12"


def test_body_of_another_digest(client: Client, location: Location) -> None:
    assert_problem(client.put(URL, b"other bytes", headers=bearer()), 422, "digest_mismatch")


def test_storage_that_fails_tells_no_path(client: Client, location: Location, root: Path) -> None:
    root.rmdir()
    for method, role in (("PUT", UPLOADER), ("GET", DOWNLOADER)):
        answer = client.generic(method, URL, CONTENT if method == "PUT" else b"", headers=bearer(role))
        assert_problem(answer, 502, "storage_error")
        assert str(root) not in answer.content.decode()


def test_full_disk_leaves_nothing(
    client: Client, location: Location, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full)
        answer = client.put(URL, CONTENT, headers=bearer())
    assert_problem(answer, 507, "storage_full")
    assert [path for path in root.rglob("*") if path.is_file()] == []
    assert client.put(URL, CONTENT, headers=bearer()).status_code == 201


@pytest.mark.parametrize(("what", "level"), [("quota", "WARNING"), ("disk", "ERROR")])
def test_location_that_is_full_is_one_line_of_the_log(
    client: Client,
    location: Location,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    what: str,
    level: str,
) -> None:
    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    if what == "quota":
        Location.objects.update(quota_bytes=1)
    else:
        monkeypatch.setattr(os, "write", full)
    answer = client.put(URL, CONTENT, headers=bearer())
    assert_problem(answer, 507, "storage_full")
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == (level, f"PUT {URL}: 507 storage_full")
    assert record.exc_info is None


def test_busy_server_says_so_in_one_line_that_is_no_error(rf: RequestFactory, caplog: pytest.LogCaptureFixture) -> None:
    assert exception_handler(Busy(), {"request": rf.put(URL)}).status_code == 503
    (record,) = caplog.records
    assert (record.levelname, record.exc_info) == ("WARNING", None)


def test_failure_is_one_line_with_its_traceback(
    client: Client, location: Location, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "write", fail)
    assert_problem(client.put(URL, CONTENT, headers=bearer()), 502, "storage_error")
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.exc_info


def test_database_that_is_away(client: Client, location: Location) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OperationalError("could not connect to server at db.internal with password=hunter2")

    with connection.execute_wrapper(refuse):
        answer = client.put(URL, CONTENT, headers=bearer())
    assert_problem(answer, 503, "unavailable")
    assert answer["Retry-After"] == "5"
    assert "hunter2" not in answer.content.decode()


def test_what_nobody_foresaw_is_logged_and_not_shown(
    client: Client, location: Location, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(services, "find", fail)
    answer = client.get(URL, headers=bearer(DOWNLOADER))
    assert_problem(answer, 500, "internal_error")
    assert "secret detail" not in answer.content.decode()
    assert "ZeroDivisionError: secret detail" in caplog.text


def test_failure_outside_the_api_is_a_problem_too(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("django.views.generic.base.RedirectView.get", fail)
    client.raise_request_exception = False
    answer = client.get("/")
    assert_problem(answer, 500, "internal_error")
    assert "secret detail" not in answer.content.decode()


def test_codes_are_those_of_the_documentation() -> None:
    table = (project_settings.BASE_DIR / "docs" / "api.md").read_text().split("## Errors")[1]
    documented = {
        (int(status), code)
        for status, codes in re.findall(r"^\| (\d{3}) \| ([^|]+) \|", table, re.MULTILINE)
        for code in re.findall(r"`(\w+)`", codes)
    }
    raised = {(kind.status, kind.code) for kind in ArtifactError.__subclasses__()}
    assert documented == raised | {
        (400, "bad_request"),
        (400, "invalid_parameter"),
        (401, "authentication_failed"),
        (401, "not_authenticated"),
        (403, "permission_denied"),
        (404, "not_found"),
        (405, "method_not_allowed"),
        (406, "not_acceptable"),
        (429, "throttled"),
    }


@pytest.mark.parametrize("org_id", ["9f0c2f2e-3d0b-4a53-9f55-7f0b8c0f1a11", "acme", "", None])
def test_bound_location_takes_its_own_organization_alone(
    client: Client, location: Location, org_id: str | None
) -> None:
    location.organization = ORGANIZATION
    location.save()
    assert client.put(URL, CONTENT, headers=bearer()).status_code == 201
    for method, role in (("PUT", UPLOADER), ("GET", DOWNLOADER)):
        answer = client.generic(method, URL, CONTENT, headers=bearer(role, **{"org-id": org_id}))
        assert_problem(answer, 403, "wrong_organization")


def test_corrupt_artifact_tells_no_path(client: Client, location: Location, root: Path) -> None:
    client.put(URL, CONTENT, headers=bearer())
    for path in root.rglob("*/*/*"):
        path.write_bytes(b"other bytes!")
    answer = client.get(URL, headers=bearer(DOWNLOADER))
    assert_problem(answer, 502, "artifact_corrupt")
    assert str(root) not in answer.content.decode()


def test_disk_that_fails_leaves_nothing(
    client: Client, location: Location, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> int:
        raise OSError(errno.EIO, "Input/output error", str(root))

    monkeypatch.setattr("artifacts.storage.filesystem.os.fsync", fail)
    answer = client.put(URL, CONTENT, headers=bearer())
    assert_problem(answer, 502, "storage_error")
    assert str(root) not in answer.content.decode()
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_location_whose_settings_are_wrong_tells_none_of_them(client: Client, location: Location) -> None:
    Location.objects.update(backend="no-such-backend", options={"password": "hunter2"})
    answer = client.put(URL, CONTENT, headers=bearer(backend="no-such-backend"))
    assert_problem(answer, 502, "storage_error")
    assert "hunter2" not in answer.content.decode()


def test_wrong_method_names_the_right_ones(client: Client, location: Location) -> None:
    answer = client.delete(URL, headers=bearer(DOWNLOADER))
    assert {method.strip() for method in answer["Allow"].split(",")} >= {"GET", "HEAD", "PUT"}


def test_link_with_too_many_parameters_is_the_clients_fault(client: Client, location: Location) -> None:
    query = "&".join(f"p{number}=" for number in range(1001))
    answer = client.get(f"/download/{digest_of(CONTENT)}?{query}", headers=bearer(DOWNLOADER))
    assert 400 <= answer.status_code < 500
    assert answer["Content-Type"] == "application/problem+json"


def test_host_that_is_not_ours_is_a_problem_too(client: Client) -> None:
    answer = client.get("/", headers={"Host": "evil.example"})
    assert answer.status_code == 400
    assert_problem(answer, 400, "bad_request")
    assert answer.json()["detail"] == "The server does not answer for this host."
    assert "evil.example" not in answer.content.decode()


def test_path_is_not_repeated_where_nothing_is(client: Client) -> None:
    answer = client.get("/nowhere/<script>", {"t": "a-token"})
    assert_problem(answer, 404, "not_found")
    assert "nowhere" not in answer.content.decode()


@pytest.mark.parametrize(
    ("error", "code"), [(exceptions.Throttled(), "throttled"), (exceptions.ParseError(), "parse_error")]
)
def test_what_the_framework_refuses_is_a_problem_too(error: exceptions.APIException, code: str) -> None:
    answer = exception_handler(error, {})
    assert (answer.status_code, answer.content_type) == (error.status_code, "application/problem+json")
    assert answer.data["code"] == code
