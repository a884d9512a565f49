"""A location that organizations share: who uploads learns what is there only by having it."""

import base64
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from artifacts.models import Artifact, Location
from artifacts.tokens import DOWNLOADER, UPLOADER
from artifacts.tus import CONTENT_TYPE
from tests.factories import bearer, digest_of, files_in, stored_at

pytestmark = pytest.mark.django_db

CONTENT = b"what another organization keeps"
DIGEST = digest_of(CONTENT)
URL = f"/artifacts/{DIGEST}"
GUESS = b"x" * len(CONTENT)
OTHERS = {"org-id": "b0f2b1a6-64f7-4b3a-8d0e-2f4c7a4c1b11"}
NAMED = "digest " + base64.b64encode(str(DIGEST).encode()).decode()


@pytest.fixture(autouse=True)
def shared(client: Client, location: Location) -> Location:
    """The default location, with the artifact of one organization, requiring proof."""
    client.put(URL, CONTENT, headers=bearer())
    location.proof_of_possession = True
    location.save()
    return location


def remove() -> None:
    Artifact.objects.all().delete()


def answer_of(answer: Any) -> tuple[int, bytes]:
    return answer.status_code, answer.content


def is_told_apart(client: Client, root: Path, method: str, path: str, body: bytes = b"") -> bool:
    """Whether another organization's uploader is answered in two ways, with the artifact there and without it."""
    sent: dict[str, Any] = {"content_type": "application/octet-stream", "headers": bearer(**OTHERS)}
    there = answer_of(client.generic(method, path, body, **sent))
    stored_at(root, CONTENT).unlink()
    remove()
    return there != answer_of(client.generic(method, path, body, **sent))


def test_put_of_another_body_does_not_tell(client: Client, root: Path) -> None:
    assert not is_told_apart(client, root, "PUT", URL, GUESS)


def test_put_of_another_length_does_not_tell(client: Client, root: Path) -> None:
    assert not is_told_apart(client, root, "PUT", URL, b"")


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_uploader_cannot_ask(client: Client, root: Path, method: str) -> None:
    path = URL if method == "HEAD" else f"{URL}/describe"
    assert not is_told_apart(client, root, method, path)


def test_full_quota_does_not_tell(client: Client, root: Path, shared: Location) -> None:
    shared.quota_bytes = 0
    shared.save()
    assert not is_told_apart(client, root, "PUT", URL, GUESS)


def test_without_proof_it_is_told(client: Client, root: Path, shared: Location) -> None:
    shared.proof_of_possession = False
    shared.save()
    assert is_told_apart(client, root, "PUT", URL, GUESS)


def test_whole_body_is_told_that_it_is_there(client: Client, root: Path) -> None:
    answer = client.put(URL, CONTENT, headers=bearer(**OTHERS))
    assert (answer.status_code, answer.json()["skipped"]) == (200, True)
    assert files_in(root) == [stored_at(root, CONTENT)]


def test_wrong_body_is_no_event_of_a_deduplicated_upload(client: Client, sent_signals: list[Any]) -> None:
    sent_signals.clear()
    assert client.put(URL, GUESS, headers=bearer(**OTHERS)).status_code == 422
    assert sent_signals == []


def begin(client: Client) -> Any:
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(CONTENT)), "Upload-Metadata": NAMED}
    return client.post("/uploads/", b"", content_type=CONTENT_TYPE, headers={**headers, **bearer(**OTHERS)})


def append(client: Client, path: str, body: bytes) -> Any:
    headers = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0", **bearer(**OTHERS)}
    return client.patch(path, body, content_type=CONTENT_TYPE, headers=headers)


def test_resumable_upload_begins_at_nothing(client: Client) -> None:
    answer = begin(client)
    assert (answer.status_code, answer.get("Upload-Offset", "0")) == (201, "0")


def test_resumable_upload_of_another_body_is_refused(client: Client) -> None:
    assert append(client, begin(client)["Location"], GUESS).status_code == 422


def test_resumable_upload_of_all_of_it_is_told(client: Client, root: Path) -> None:
    assert append(client, begin(client)["Location"], CONTENT).status_code == 204
    assert stored_at(root, CONTENT).read_bytes() == CONTENT


def test_downloader_has_what_it_names(client: Client) -> None:
    answer = client.get(URL, headers=bearer(DOWNLOADER, **OTHERS))
    assert answer.content == CONTENT
    assert client.head(URL, headers=bearer(DOWNLOADER)).status_code == 200
    assert client.head(URL, headers=bearer(UPLOADER)).status_code == 404


def test_command_makes_such_a_location(tmp_path: Path) -> None:
    call_command("create_location", "shared", "--folder", str(tmp_path), "--proof-of-possession", verbosity=0)
    assert Location.objects.get(name="shared").proof_of_possession
