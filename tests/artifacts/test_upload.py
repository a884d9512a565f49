"""PUT and POST through Django's test client; what needs a real server is in tests/functional."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

import pytest
from django.db import OperationalError, connection
from django.dispatch import Signal
from django.test import Client
from pytest_django import Settings

from artifacts import services
from artifacts.models import Artifact, Location
from artifacts.signals import artifact_deduplicated, artifact_uploaded
from tests.factories import bearer, digest_of, files_in, stored_at

pytestmark = pytest.mark.django_db

CONTENT = b"some content"
DIGEST = digest_of(CONTENT)
URL = f"/artifacts/{DIGEST}"

Sent = list[tuple[Signal, dict[str, Any]]]


def test_put_stores_the_bytes_under_their_digest(client: Client, root: Path) -> None:
    answer = client.put(f"{URL}?filename=a.txt", CONTENT, headers=bearer())
    assert answer.status_code == 201
    assert answer.json() == {"digest": str(DIGEST), "size_bytes": 12, "file_name": "a.txt", "skipped": False}
    assert answer["Location"] == URL
    assert stored_at(root, CONTENT).read_bytes() == CONTENT
    assert files_in(root) == [stored_at(root, CONTENT)]
    assert Artifact.objects.get().file_name == "a.txt"


def test_second_put_is_skipped_and_keeps_the_first_name(client: Client, root: Path) -> None:
    client.put(f"{URL}?filename=first.txt", CONTENT, headers=bearer())
    written = stored_at(root, CONTENT).stat()
    answer = client.put(f"{URL}?filename=second.txt", CONTENT, headers=bearer())
    assert answer.status_code == 200
    assert answer.json() == {"digest": str(DIGEST), "size_bytes": 12, "file_name": "second.txt", "skipped": True}
    assert Artifact.objects.get().file_name == "first.txt"
    assert stored_at(root, CONTENT).stat().st_ino == written.st_ino


def test_nameless_second_put_is_told_the_stored_name(client: Client, location: Location) -> None:
    client.put(f"{URL}?filename=first.txt", CONTENT, headers=bearer())
    assert client.put(URL, CONTENT, headers=bearer()).json()["file_name"] == "first.txt"


@pytest.mark.parametrize("path", ["/artifacts/", "/artifacts"])
def test_post_computes_the_digest(client: Client, root: Path, path: str) -> None:
    answer = client.post(path, CONTENT, content_type="application/octet-stream", headers=bearer())
    assert answer.status_code == 201
    assert answer.json()["digest"] == str(DIGEST)
    assert answer["Location"] == URL
    assert stored_at(root, CONTENT).exists()


def test_post_of_what_is_there_is_skipped(client: Client, root: Path) -> None:
    client.put(URL, CONTENT, headers=bearer())
    answer = client.post("/artifacts/", CONTENT, content_type="application/octet-stream", headers=bearer())
    assert (answer.status_code, answer.json()["skipped"]) == (200, True)
    assert files_in(root) == [stored_at(root, CONTENT)]


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"])
def test_body_is_the_artifact_whatever_its_type(client: Client, root: Path, content_type: str) -> None:
    client.put(URL, CONTENT, content_type=content_type, headers=bearer())
    assert stored_at(root, CONTENT).read_bytes() == CONTENT


def test_accept_does_not_matter(client: Client, location: Location) -> None:
    answer = client.put(URL, CONTENT, headers={**bearer(), "Accept": "text/html"})
    assert answer.status_code == 201
    assert answer["Content-Type"] == "application/json"


def test_object_without_a_row_is_skipped_and_gets_its_row(client: Client, root: Path) -> None:
    stored_at(root, CONTENT).parent.mkdir(parents=True)
    stored_at(root, CONTENT).write_bytes(CONTENT)
    answer = client.put(f"{URL}?filename=a.txt", CONTENT, headers=bearer())
    assert answer.json()["skipped"] is True
    assert (Artifact.objects.get().size_bytes, Artifact.objects.get().file_name) == (12, "a.txt")


def test_row_without_an_object_is_stored_again(client: Client, root: Path) -> None:
    client.put(f"{URL}?filename=old.txt", CONTENT, headers=bearer())
    stored_at(root, CONTENT).unlink()
    assert client.put(f"{URL}?filename=new.txt", CONTENT, headers=bearer()).status_code == 201
    assert stored_at(root, CONTENT).read_bytes() == CONTENT
    assert Artifact.objects.get().file_name == "new.txt"


def test_truncated_object_is_healed(client: Client, root: Path) -> None:
    client.put(URL, CONTENT, headers=bearer())
    stored_at(root, CONTENT).write_bytes(CONTENT[:5])
    assert client.put(URL, CONTENT, headers=bearer()).status_code == 201
    assert stored_at(root, CONTENT).read_bytes() == CONTENT


def test_corrupt_object_is_healed_by_a_post_as_well(client: Client, root: Path) -> None:
    client.put(URL, CONTENT, headers=bearer())
    stored_at(root, CONTENT).write_bytes(CONTENT[::-1])
    Artifact.objects.update(corrupt_at="2026-11-24T00:00:00Z")
    answer = client.post("/artifacts/", CONTENT, content_type="application/octet-stream", headers=bearer())
    assert answer.status_code == 201
    assert stored_at(root, CONTENT).read_bytes() == CONTENT
    assert Artifact.objects.get().corrupt_at is None


def test_wrong_body_does_not_replace_a_corrupt_object(client: Client, root: Path) -> None:
    client.put(URL, CONTENT, headers=bearer())
    stored_at(root, CONTENT).write_bytes(CONTENT[:5])
    assert client.put(URL, b"something else", headers=bearer()).status_code == 422
    assert files_in(root) == [stored_at(root, CONTENT)]


@pytest.mark.parametrize(
    ("of_token", "of_server", "status"), [(0, 0, 201), (12, 0, 201), (11, 0, 413), (0, 11, 413), (100, 11, 413)]
)
def test_smaller_of_both_limits_holds(
    client: Client, root: Path, settings: Settings, of_token: int, of_server: int, status: int
) -> None:
    settings.CAS_MAX_UPLOAD_BYTES = of_server
    assert client.put(URL, CONTENT, headers=bearer(maxbytes=of_token)).status_code == status
    assert len(files_in(root)) == (status == 201)


@pytest.mark.parametrize("length", [services.LARGEST + 1, 10**15, 2**63, 10**20 - 1])
@pytest.mark.parametrize("quota", [None, 2**63 - 1])
def test_length_beyond_any_storages_is_refused_whatever_the_limits(
    client: Client, location: Location, settings: Settings, length: int, quota: int | None
) -> None:
    settings.CAS_MAX_UPLOAD_BYTES = 0
    Location.objects.update(quota_bytes=quota)
    wire: dict[str, Any] = {"wsgi.input": io.BytesIO(), "CONTENT_LENGTH": str(length)}
    for method, url in (("PUT", URL), ("POST", "/artifacts/")):
        answer = client.generic(method, url, headers=bearer(), **wire)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


class Wire(io.BytesIO):
    """A body on its way; `at_end` happens once its bytes were read."""

    def __init__(self, content: bytes, at_end: Callable[[], object]) -> None:
        super().__init__(content)
        self._at_end = at_end
        self._is_over = False

    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(size)
        if self.tell() == len(self.getvalue()) and not self._is_over:
            self._is_over = True
            self._at_end()
        return block


def put_while(client: Client, at_end: Callable[[], object]) -> Any:
    wire: dict[str, Any] = {"wsgi.input": Wire(CONTENT, at_end), "CONTENT_LENGTH": "12"}
    return client.generic("PUT", f"{URL}?filename=mine.txt", headers=bearer(), **wire)


def test_upload_overtaken_by_its_twin_is_told_it_was_there(client: Client, root: Path, sent_signals: Sent) -> None:
    answer = put_while(client, lambda: client.put(f"{URL}?filename=twin.txt", CONTENT, headers=bearer()))
    assert (answer.status_code, answer.json()["skipped"], answer.json()["file_name"]) == (200, True, "mine.txt")
    assert Artifact.objects.get().file_name == "twin.txt"
    assert [signal for signal, _ in sent_signals] == [artifact_uploaded, artifact_deduplicated]
    assert files_in(root) == [stored_at(root, CONTENT)]


def test_upload_overtaken_at_the_last_moment_is_told_so_too(
    client: Client, root: Path, sent_signals: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def be_overtaken(descriptor: int) -> None:
        stored_at(root, CONTENT).parent.mkdir(parents=True, exist_ok=True)
        stored_at(root, CONTENT).write_bytes(CONTENT)

    monkeypatch.setattr("artifacts.storage.filesystem.os.fsync", be_overtaken)
    answer = client.put(f"{URL}?filename=a.txt", CONTENT, headers=bearer())
    assert (answer.status_code, answer.json()["skipped"]) == (200, True)
    assert [(signal, values["size_bytes"]) for signal, values in sent_signals] == [(artifact_deduplicated, 12)]
    assert files_in(root) == [stored_at(root, CONTENT)]


def test_upload_whose_twin_repaired_the_artifact_first_tells_its_true_size(
    client: Client, root: Path, sent_signals: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.put(URL, CONTENT, headers=bearer())
    stored_at(root, CONTENT).write_bytes(CONTENT[:5])

    def be_overtaken(*args: object, **options: object) -> bool:  # as by who replaced the generation that GCS was told
        stored_at(root, CONTENT).write_bytes(CONTENT)
        return False

    monkeypatch.setattr(services, "_place", be_overtaken)
    answer = client.put(URL, CONTENT, headers=bearer())
    assert (answer.status_code, answer.json()["skipped"], answer.json()["size_bytes"]) == (200, True, 12)
    assert [values["size_bytes"] for signal, values in sent_signals if signal is artifact_deduplicated] == [12]


def test_database_that_fails_after_the_object_is_placed_costs_its_name_alone(
    client: Client, root: Path, sent_signals: Sent
) -> None:
    def refuse_writes(execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        if "INSERT" in sql:
            raise OperationalError("the disk of the database is full")
        return execute(sql, *args)

    with connection.execute_wrapper(refuse_writes):
        assert client.put(URL, CONTENT, headers=bearer()).status_code == 201
    assert [signal for signal, _ in sent_signals] == [artifact_uploaded]
    assert files_in(root) == [stored_at(root, CONTENT)]
    assert client.put(f"{URL}?filename=a.txt", CONTENT, headers=bearer()).status_code == 200
    assert Artifact.objects.get().file_name == "a.txt"


class Endless(io.BytesIO):
    """A chunked body that goes on until the test has seen enough."""

    ENOUGH = 256 * 1024**2

    def __init__(self) -> None:
        super().__init__()
        self.given = 0

    def read(self, size: int | None = -1, /) -> bytes:
        size = min(size or 0, self.ENOUGH - self.given)
        self.given += size
        return b"x" * size


def test_endless_body_of_a_stored_artifact_is_not_read_for_ever(client: Client, location: Location) -> None:
    client.put(URL, CONTENT, headers=bearer())
    wire: dict[str, Any] = {"wsgi.input": (endless := Endless())}
    headers = {**bearer(maxbytes=100), "Transfer-Encoding": "chunked"}
    client.generic("PUT", URL, headers=headers, **wire)
    assert endless.given < Endless.ENOUGH


def test_name_is_stored_and_sent_back_exactly(client: Client, location: Location) -> None:
    name = "\"quoted\" 'single' <b>&amp; 文件 \u2028 🎉;=%41.txt"
    answer = client.put(f"{URL}?{urlencode({'filename': name})}", CONTENT, headers=bearer())
    assert answer.json()["file_name"] == name
    assert Artifact.objects.get().file_name == name
    header = client.head(URL, headers=bearer())["Content-Disposition"]
    assert header.isascii()
    _, _, encoded = header.partition("filename*=utf-8''")
    assert unquote(encoded) == name
