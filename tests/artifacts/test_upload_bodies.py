"""What an upload takes of a body that is late, long, short, chunked, or not needed at all."""

import io
from pathlib import Path
from typing import Any

import pytest
from django.dispatch import Signal
from django.test import Client

from artifacts.models import Artifact, Location
from artifacts.signals import artifact_deduplicated, artifact_uploaded
from tests.artifacts.test_upload import CONTENT, DIGEST, URL, put_while
from tests.factories import bearer, files_in, stored_at

pytestmark = pytest.mark.django_db

WAITS = {"Expect": "100-continue"}
CHUNKED = {"Transfer-Encoding": "chunked"}

Sent = list[tuple[Signal, dict[str, Any]]]


class Wire(io.BytesIO):
    """A body on its way, which knows whether it was asked for."""

    is_asked_for = False

    def read(self, size: int | None = -1, /) -> bytes:
        self.is_asked_for = True
        return super().read(size)

    @property
    def is_at_end(self) -> bool:
        return self.tell() == len(self.getvalue())


def put(client: Client, wire: Wire, headers: dict[str, str]) -> Any:
    """Announces the length of CONTENT unless chunked."""
    length = {} if "Transfer-Encoding" in headers else {"CONTENT_LENGTH": str(len(CONTENT))}
    environ: dict[str, Any] = {"wsgi.input": wire, **length}
    return client.generic("PUT", URL, headers={**bearer(), **headers}, **environ)


def test_client_that_waits_sends_nothing_of_what_is_there(client: Client, location: Location) -> None:
    client.put(URL, CONTENT, headers=bearer())
    wire = Wire(CONTENT)
    answer = put(client, wire, WAITS)
    assert (answer.status_code, answer.json()["skipped"]) == (200, True)
    assert not wire.is_asked_for


def test_client_that_does_not_wait_is_heard_out(client: Client, location: Location) -> None:
    client.put(URL, CONTENT, headers=bearer())
    wire = Wire(CONTENT)
    assert put(client, wire, {}).status_code == 200
    assert wire.is_at_end


def test_client_that_waits_is_asked_for_what_is_new(client: Client, root: Path) -> None:
    assert put(client, Wire(CONTENT), WAITS).status_code == 201
    assert stored_at(root, CONTENT).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"maxbytes": 11}, "too_large"),
        ({"role": "downloader"}, "wrong_role"),
        ({"secret-id": "unknown"}, "location_not_found"),
        ({"exp": 1}, "invalid_token"),
    ],
)
def test_client_that_waits_sends_nothing_of_what_is_refused(
    client: Client, location: Location, claims: dict[str, Any], code: str
) -> None:
    wire = Wire(CONTENT)
    answer = put(client, wire, {**bearer(**claims), **WAITS})
    assert answer.json()["code"] == code
    assert not wire.is_asked_for


def test_refused_client_that_does_not_wait_is_heard_out(client: Client, location: Location) -> None:
    wire = Wire(CONTENT)
    assert put(client, wire, bearer(maxbytes=11)).status_code == 413
    assert wire.is_at_end


def test_client_that_leaves_before_it_is_told_that_it_was_there_makes_no_event(
    client: Client, location: Location, sent_signals: Sent
) -> None:
    client.put(URL, CONTENT, headers=bearer())
    sent_signals.clear()
    answer = put(client, Wire(CONTENT[:5]), {})
    assert (answer.status_code, answer.json()["code"]) == (400, "incomplete_body")
    assert sent_signals == []


@pytest.mark.parametrize("limit", [0, 12])
def test_chunked_body_of_a_known_digest_is_stored(client: Client, root: Path, limit: int) -> None:
    answer = put(client, Wire(CONTENT), {**bearer(maxbytes=limit), **CHUNKED})
    assert (answer.status_code, answer.json()["size_bytes"]) == (201, 12)
    assert stored_at(root, CONTENT).read_bytes() == CONTENT


def test_chunked_body_that_grows_too_large_leaves_nothing(client: Client, root: Path) -> None:
    answer = put(client, Wire(CONTENT), {**bearer(maxbytes=11), **CHUNKED})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert files_in(root) == []


def test_chunked_body_that_is_cut_off_is_another_digest(client: Client, root: Path, sent_signals: Sent) -> None:
    answer = put(client, Wire(CONTENT[:-1]), CHUNKED)
    assert (answer.status_code, answer.json()["code"]) == (422, "digest_mismatch")
    assert files_in(root) == []
    assert sent_signals == []


def test_no_more_is_read_than_was_announced(client: Client, root: Path) -> None:
    wire = Wire(CONTENT + b"PUT /the/next HTTP/1.1")
    assert put(client, wire, {}).status_code == 201
    assert wire.read() == b"PUT /the/next HTTP/1.1"


def test_row_that_another_upload_writes_first_is_kept(client: Client, root: Path, sent_signals: Sent) -> None:
    stored_at(root, CONTENT).parent.mkdir(parents=True)
    stored_at(root, CONTENT).write_bytes(CONTENT)
    answer = put_while(client, lambda: client.put(f"{URL}?filename=twin.txt", CONTENT, headers=bearer()))
    assert (answer.status_code, answer.json()["skipped"]) == (200, True)
    assert Artifact.objects.get().file_name == "twin.txt"
    assert [signal for signal, _ in sent_signals] == [artifact_deduplicated] * 2


def test_object_cut_short_by_others_is_not_taken_for_the_body_that_came(
    client: Client, root: Path, sent_signals: Sent
) -> None:
    stored_at(root, CONTENT).parent.mkdir(parents=True)
    stored_at(root, CONTENT).write_bytes(CONTENT[:5])
    answer = client.post("/artifacts/", CONTENT, content_type="application/octet-stream", headers=bearer())
    assert (answer.status_code, answer.json()["digest"]) == (201, str(DIGEST))
    assert stored_at(root, CONTENT).read_bytes() == CONTENT
    assert [signal for signal, _ in sent_signals] == [artifact_uploaded]
