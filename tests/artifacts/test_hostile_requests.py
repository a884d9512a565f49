"""Requests that no well-behaved client sends: headers that lie, and connections that break where they hurt."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.dispatch import Signal
from django.test import Client

from artifacts.models import Location
from artifacts.tokens import DOWNLOADER, UPLOADER
from artifacts.tus import CONTENT_TYPE
from tests.artifacts.test_errors import assert_problem
from tests.artifacts.test_tus import Tus
from tests.factories import bearer, digest_of, files_in, stored_at

pytestmark = pytest.mark.django_db

CONTENT = b"some content"
URL = f"/artifacts/{digest_of(CONTENT)}"
ETAG = f'"{digest_of(CONTENT)}"'

NO_LENGTHS = [
    *("-1", "+12", "12.0", "1e3", "0x0c", "1_2", "twelve", "12, 12", "12 12", " ", "1" * 5000, "\u0661\u0662", "12\n"),
]


class Broken(io.BytesIO):
    """A connection that the server knows to be broken once it is read out."""

    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(size)
        if not block:
            raise ConnectionResetError("Connection reset by peer")
        return block


@pytest.mark.parametrize("length", NO_LENGTHS)
@pytest.mark.parametrize(
    ("method", "path"), [("PUT", URL), ("POST", "/artifacts/"), ("GET", URL), ("POST", "/uploads/")]
)
def test_content_length_that_is_no_number_is_the_clients_fault(
    client: Client, root: Path, method: str, path: str, length: str
) -> None:
    wire: dict[str, Any] = {"wsgi.input": io.BytesIO(CONTENT), "CONTENT_LENGTH": length}
    answer = client.generic(method, path, CONTENT, headers=bearer(), **wire)
    assert_problem(answer, 400, "bad_request")
    assert files_in(root) == []


@pytest.mark.parametrize("length", ["12", "012", "0000000000000012"])
def test_content_length_may_have_leading_zeros(client: Client, root: Path, length: str) -> None:
    wire: dict[str, Any] = {"wsgi.input": io.BytesIO(CONTENT), "CONTENT_LENGTH": length}
    assert client.generic("PUT", URL, CONTENT, headers=bearer(), **wire).status_code == 201


def test_more_than_any_disk_holds_is_too_large(client: Client, root: Path) -> None:
    wire: dict[str, Any] = {"wsgi.input": io.BytesIO(CONTENT), "CONTENT_LENGTH": "9" * 20}
    assert_problem(client.generic("PUT", URL, CONTENT, headers=bearer(), **wire), 413, "too_large")


@pytest.mark.parametrize("arrived", [b"", CONTENT[:5]])
@pytest.mark.parametrize("announced", [{"CONTENT_LENGTH": "12"}, {"HTTP_TRANSFER_ENCODING": "chunked"}])
@pytest.mark.parametrize("is_there", [False, True])
def test_connection_that_breaks_stores_nothing_and_tells_nobody(
    client: Client,
    root: Path,
    sent_signals: list[tuple[Signal, dict[str, Any]]],
    arrived: bytes,
    announced: dict[str, str],
    is_there: bool,
) -> None:
    if is_there:
        client.put(URL, CONTENT, headers=bearer())
    before = files_in(root)
    sent_signals.clear()
    wire: dict[str, Any] = {"wsgi.input": Broken(arrived), **announced}
    answer = client.generic("PUT", URL, headers=bearer(), **wire)
    assert_problem(answer, 400, "incomplete_body")
    assert files_in(root) == before
    assert sent_signals == []


def test_connection_that_breaks_under_a_refused_body_still_has_its_answer(client: Client, location: Location) -> None:
    wire: dict[str, Any] = {"wsgi.input": Broken(b"a few"), "CONTENT_LENGTH": "12"}
    assert_problem(client.generic("PUT", URL, headers={"Authorization": "Bearer x"}, **wire), 401, "invalid_token")


def test_connection_that_breaks_under_a_resumable_upload_costs_nothing_that_arrived(client: Client, root: Path) -> None:
    tus = Tus(client)
    upload = tus.send("POST", "/uploads/", Upload_Length="12")["Location"]
    wire: dict[str, Any] = {"wsgi.input": Broken(CONTENT[:5]), "CONTENT_LENGTH": "12"}
    headers = {**bearer(), "Tus-Resumable": "1.0.0", "Upload-Offset": "0", "Content-Type": CONTENT_TYPE}
    answer = client.generic("PATCH", upload, headers=headers, **wire)
    assert_problem(answer, 400, "incomplete_body")
    assert tus.send("HEAD", upload)["Upload-Offset"] == "5"
    assert tus.send("PATCH", upload, CONTENT[5:], Upload_Offset="5").status_code == 204
    assert stored_at(root, CONTENT).read_bytes() == CONTENT


@pytest.fixture
def ask(client: Client, location: Location) -> Callable[..., Any]:
    """Asks for what is stored, by each of the ways there are."""
    client.put(URL, CONTENT, headers=bearer())

    def ask(method: str, path: str, **headers: str) -> Any:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.generic(method, path, headers={**bearer(DOWNLOADER), **fields})

    return ask


PAST, FUTURE = "Tue, 24 Nov 2020 08:00:00 GMT", "Thu, 24 Nov 2095 08:00:00 GMT"
WAYS = [(method, path) for method in ("GET", "HEAD") for path in (URL, URL.replace("artifacts", "download"))]


@pytest.mark.parametrize(("method", "path"), WAYS)
@pytest.mark.parametrize("condition", [ETAG, f'"x", {ETAG}', f"W/{ETAG}", "*"])
def test_client_that_has_it_is_told_so(
    ask: Callable[..., Any],
    sent_signals: list[tuple[Signal, dict[str, Any]]],
    method: str,
    path: str,
    condition: str,
) -> None:
    answer = ask(method, path, If_None_Match=condition)
    assert (answer.status_code, answer.content, answer["ETag"]) == (304, b"", ETAG)
    assert len(sent_signals) == 0


@pytest.mark.parametrize(("method", "path"), WAYS)
@pytest.mark.parametrize(
    "condition",
    [{"If_Match": '"another"'}, {"If_Match": f"W/{ETAG}"}, {"If_Match": '"another"', "If_Unmodified_Since": PAST}],
)
def test_condition_that_fails_is_a_problem(
    ask: Callable[..., Any], method: str, path: str, condition: dict[str, str]
) -> None:
    answer = ask(method, path, **condition)
    if method == "GET":
        assert_problem(answer, 412, "precondition_failed")
    assert answer.status_code == 412


@pytest.mark.parametrize(("method", "path"), WAYS)
@pytest.mark.parametrize(
    "condition",
    [
        {"If_Match": ETAG},
        {"If_Match": "*"},
        {"If_Match": "nonsense"},
        {"If_None_Match": '"another"'},
        {"If_None_Match": "sha256:nonsense"},
        {"If_Modified_Since": "a while ago"},
        {"If_Modified_Since": "Tue, 99 Nov 99999 08:00:00 GMT"},
        {"If_Unmodified_Since": "\xff"},
        {"If_Unmodified_Since": PAST},
        {"If_Modified_Since": FUTURE},
        {"If_None_Match": '"another"', "If_Unmodified_Since": PAST},
        {"If_None_Match": '"another"', "If_Modified_Since": FUTURE},
        {"If_Range": '"'},
    ],
)
def test_condition_that_holds_or_cannot_be_read_gets_all(
    ask: Callable[..., Any], method: str, path: str, condition: dict[str, str]
) -> None:
    assert ask(method, path, **condition).status_code == 200


@pytest.mark.parametrize("role", [UPLOADER, DOWNLOADER])
def test_condition_tells_nothing_to_who_may_not_ask(client: Client, location: Location, role: str) -> None:
    client.put(URL, CONTENT, headers=bearer())
    answer = client.get(URL, headers={**bearer(role, **{"secret-id": "another"}), "If-None-Match": "*"})
    assert_problem(answer, *((403, "wrong_role") if role == UPLOADER else (404, "location_not_found")))
