"""PUT and POST through Django's test client; what needs a real server is in tests/functional."""

from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from artifacts.models import Artifact, Location
from tests.factories import bearer, digest_of

pytestmark = pytest.mark.django_db

CONTENT = b"some content"
DIGEST = digest_of(CONTENT)
URL = f"/artifacts/{DIGEST}"


def stored_at(root: Path, content: bytes = CONTENT) -> Path:
    hexdigest = digest_of(content).hex
    return root / "sha256" / hexdigest[:2] / hexdigest


def files_in(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_put_stores_the_bytes_under_their_digest(client: Client, root: Path) -> None:
    answer = client.put(f"{URL}?filename=a.txt", CONTENT, headers=bearer())
    assert answer.status_code == 201
    assert answer.json() == {"digest": str(DIGEST), "size_bytes": 12, "file_name": "a.txt", "skipped": False}
    assert answer["Location"] == URL
    assert stored_at(root).read_bytes() == CONTENT
    assert files_in(root) == [stored_at(root)]
    assert Artifact.objects.get().file_name == "a.txt"


def test_second_put_is_skipped_and_keeps_the_first_name(client: Client, root: Path) -> None:
    client.put(f"{URL}?filename=first.txt", CONTENT, headers=bearer())
    written = stored_at(root).stat()
    answer = client.put(f"{URL}?filename=second.txt", CONTENT, headers=bearer())
    assert answer.status_code == 200
    assert answer.json() == {"digest": str(DIGEST), "size_bytes": 12, "file_name": "second.txt", "skipped": True}
    assert Artifact.objects.get().file_name == "first.txt"
    assert stored_at(root).stat().st_ino == written.st_ino


def test_nameless_second_put_is_told_the_stored_name(client: Client, location: Location) -> None:
    client.put(f"{URL}?filename=first.txt", CONTENT, headers=bearer())
    assert client.put(URL, CONTENT, headers=bearer()).json()["file_name"] == "first.txt"


@pytest.mark.parametrize("path", ["/artifacts/", "/artifacts"])
def test_post_computes_the_digest(client: Client, root: Path, path: str) -> None:
    answer = client.post(path, CONTENT, content_type="application/octet-stream", headers=bearer())
    assert answer.status_code == 201
    assert answer.json()["digest"] == str(DIGEST)
    assert answer["Location"] == URL
    assert stored_at(root).exists()


def test_post_of_what_is_there_is_skipped(client: Client, root: Path) -> None:
    client.put(URL, CONTENT, headers=bearer())
    answer = client.post("/artifacts/", CONTENT, content_type="application/octet-stream", headers=bearer())
    assert (answer.status_code, answer.json()["skipped"]) == (200, True)
    assert files_in(root) == [stored_at(root)]


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"])
def test_body_is_the_artifact_whatever_its_type(client: Client, root: Path, content_type: str) -> None:
    client.put(URL, CONTENT, content_type=content_type, headers=bearer())
    assert stored_at(root).read_bytes() == CONTENT


def test_accept_does_not_matter(client: Client, location: Location) -> None:
    answer = client.put(URL, CONTENT, headers={**bearer(), "Accept": "text/html"})
    assert answer.status_code == 201
    assert answer["Content-Type"] == "application/json"


def test_object_without_a_row_is_skipped_and_gets_its_row(client: Client, root: Path) -> None:
    stored_at(root).parent.mkdir(parents=True)
    stored_at(root).write_bytes(CONTENT)
    answer = client.put(f"{URL}?filename=a.txt", CONTENT, headers=bearer())
    assert answer.json()["skipped"] is True
    assert (Artifact.objects.get().size_bytes, Artifact.objects.get().file_name) == (12, "a.txt")


def test_row_without_an_object_is_stored_again(client: Client, root: Path) -> None:
    client.put(f"{URL}?filename=old.txt", CONTENT, headers=bearer())
    stored_at(root).unlink()
    assert client.put(f"{URL}?filename=new.txt", CONTENT, headers=bearer()).status_code == 201
    assert stored_at(root).read_bytes() == CONTENT
    assert Artifact.objects.get().file_name == "new.txt"


def test_truncated_object_is_healed(client: Client, root: Path) -> None:
    client.put(URL, CONTENT, headers=bearer())
    stored_at(root).write_bytes(CONTENT[:5])
    assert client.put(URL, CONTENT, headers=bearer()).status_code == 201
    assert stored_at(root).read_bytes() == CONTENT


def test_corrupt_object_is_healed_by_a_post_as_well(client: Client, root: Path) -> None:
    client.put(URL, CONTENT, headers=bearer())
    stored_at(root).write_bytes(CONTENT[::-1])
    Artifact.objects.update(corrupt_at="2026-11-24T00:00:00Z")
    answer = client.post("/artifacts/", CONTENT, content_type="application/octet-stream", headers=bearer())
    assert answer.status_code == 201
    assert stored_at(root).read_bytes() == CONTENT
    assert Artifact.objects.get().corrupt_at is None


def test_wrong_body_does_not_replace_a_corrupt_object(client: Client, root: Path) -> None:
    client.put(URL, CONTENT, headers=bearer())
    stored_at(root).write_bytes(CONTENT[:5])
    assert client.put(URL, b"something else", headers=bearer()).status_code == 422
    assert files_in(root) == [stored_at(root)]


@pytest.mark.parametrize(
    ("of_token", "of_server", "status"), [(0, 0, 201), (12, 0, 201), (11, 0, 413), (0, 11, 413), (100, 11, 413)]
)
def test_smaller_of_both_limits_holds(
    client: Client, root: Path, settings: Settings, of_token: int, of_server: int, status: int
) -> None:
    settings.CAS_MAX_UPLOAD_BYTES = of_server
    assert client.put(URL, CONTENT, headers=bearer(maxbytes=of_token)).status_code == status
    assert len(files_in(root)) == (status == 201)
