"""GET, HEAD, describe and /download/ through Django's test client."""

import errno
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.dispatch import Signal
from django.test import Client

from artifacts import services
from artifacts.digests import BLOCK_SIZE
from artifacts.exceptions import ArtifactCorrupt, StorageError
from artifacts.models import Artifact, Location
from artifacts.services import AT_ONCE
from artifacts.signals import artifact_downloaded
from artifacts.tokens import DOWNLOADER, UPLOADER
from tests.factories import bearer, digest_of, make_token, stored_at

pytestmark = pytest.mark.django_db

CONTENT = b"some content"
DIGEST = digest_of(CONTENT)
URL = f"/artifacts/{DIGEST}"
LARGE = bytes(range(256)) * 4096  # four blocks

Sent = list[tuple[Signal, dict[str, Any]]]


@pytest.fixture
def stored(client: Client, root: Path) -> Path:
    """The artifact is there; this is its file."""
    assert client.put(f"{URL}?filename=a b.txt", CONTENT, headers=bearer()).status_code == 201
    return stored_at(root, CONTENT)


@pytest.fixture
def large(client: Client, root: Path) -> Path:
    """One of several blocks."""
    assert client.put(f"/artifacts/{digest_of(LARGE)}", LARGE, headers=bearer()).status_code == 201
    return stored_at(root, LARGE)


def body(answer: Any) -> bytes:
    content: bytes = answer.getvalue()
    return content


def downloads(sent: Sent) -> list[dict[str, Any]]:
    return [values for signal, values in sent if signal is artifact_downloaded]


def test_get_hands_over_the_bytes_and_says_what_they_are(client: Client, stored: Path, sent_signals: Sent) -> None:
    answer = client.get(URL, headers=bearer(DOWNLOADER))
    assert answer.status_code == 200
    assert answer["Content-Length"] == "12"
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["Content-Disposition"] == 'attachment; filename="a b.txt"'
    assert answer["ETag"] == f'"{DIGEST}"'
    assert answer["Repr-Digest"] == DIGEST.as_structured_field()
    assert answer["Accept-Ranges"] == "bytes"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert body(answer) == CONTENT
    assert [values["size_bytes"] for values in downloads(sent_signals)] == [12]


def test_head_says_the_same_and_makes_no_event(client: Client, stored: Path, sent_signals: Sent) -> None:
    got = client.get(URL, headers=bearer(DOWNLOADER))
    sent_signals.clear()
    for role in (UPLOADER, DOWNLOADER):
        answer = client.head(URL, headers=bearer(role))
        assert (answer.status_code, answer.content) == (200, b"")
        assert dict(answer.headers) == dict(got.headers)
    got.close()
    assert downloads(sent_signals) == []


def test_describe_is_for_both_roles_and_makes_no_event(client: Client, stored: Path, sent_signals: Sent) -> None:
    for role in (UPLOADER, DOWNLOADER):
        answer = client.get(f"{URL}/describe", headers=bearer(role))
        created = Artifact.objects.get().created_at.isoformat().replace("+00:00", "Z")
        assert answer.json() == {
            "digest": str(DIGEST),
            "size_bytes": 12,
            "file_name": "a b.txt",
            "created_at": created,
        }
    assert downloads(sent_signals) == []


def test_object_that_others_wrote_is_served_and_described(client: Client, root: Path) -> None:
    stored_at(root, CONTENT).parent.mkdir(parents=True)
    stored_at(root, CONTENT).write_bytes(CONTENT)
    answer = client.get(URL, headers=bearer(DOWNLOADER))
    assert answer["Content-Disposition"] == "attachment"
    assert body(answer) == CONTENT
    described = client.get(f"{URL}/describe", headers=bearer(DOWNLOADER)).json()
    assert (described["size_bytes"], described["file_name"]) == (12, "")
    assert described["created_at"].startswith("20")


@pytest.mark.parametrize("path", [URL, f"{URL}/describe", f"/download/{DIGEST}"])
def test_what_is_not_there_is_not_found(client: Client, location: Location, path: str) -> None:
    answer = client.get(path, headers=bearer(DOWNLOADER))
    assert (answer.status_code, answer.json()["code"]) == (404, "artifact_not_found")


def test_client_that_has_it_is_sent_nothing(client: Client, stored: Path, sent_signals: Sent) -> None:
    answer = client.get(URL, headers={**bearer(DOWNLOADER), "If-None-Match": f'"{DIGEST}"'})
    assert answer.status_code == 304
    assert downloads(sent_signals) == []


def test_download_link_takes_its_token_and_a_name_from_the_query(
    client: Client, stored: Path, sent_signals: Sent
) -> None:
    query = {"t": make_token(DOWNLOADER), "filename": "ünï.txt"}
    answer = client.get(f"/download/{DIGEST}", query)
    assert answer["Content-Disposition"] == "attachment; filename*=utf-8''%C3%BCn%C3%AF.txt"
    assert body(answer) == CONTENT
    assert downloads(sent_signals)[0]["file_name"] == "ünï.txt"
    head = client.head(f"/download/{DIGEST}", query)
    assert head["Content-Disposition"] == answer["Content-Disposition"]


def test_download_link_takes_a_header_too(client: Client, stored: Path) -> None:
    answer = client.get(f"/download/{DIGEST}", headers=bearer(DOWNLOADER))
    assert answer["Content-Disposition"] == 'attachment; filename="a b.txt"'
    assert body(answer) == CONTENT


@pytest.mark.parametrize("path", [URL, f"{URL}/describe"])
def test_token_in_the_query_is_for_download_links_alone(client: Client, stored: Path, path: str) -> None:
    assert client.get(path, {"t": make_token(DOWNLOADER)}).status_code == 401


def test_pages_of_configured_origins_may_fetch_download_links(client: Client, stored: Path, settings: Any) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example.com"]
    origin = {"Origin": "https://app.example.com"}
    answer = client.get(f"/download/{DIGEST}", headers={**bearer(DOWNLOADER), **origin})
    assert answer["Access-Control-Allow-Origin"] == "https://app.example.com"
    answer.close()
    other = client.get(URL, headers={**bearer(DOWNLOADER), **origin})
    assert "Access-Control-Allow-Origin" not in other
    other.close()


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-0", slice(0, 1)),
        (f"bytes={BLOCK_SIZE - 1}-{BLOCK_SIZE}", slice(BLOCK_SIZE - 1, BLOCK_SIZE + 1)),
        ("bytes=-5", slice(-5, None)),
        ("bytes=300000-", slice(300_000, None)),
    ],
)
def test_range_is_served_and_counted_as_its_length(
    client: Client, large: Path, header: str, span: slice, sent_signals: Sent
) -> None:
    url = f"/artifacts/{digest_of(LARGE)}"
    answer = client.get(url, headers={**bearer(DOWNLOADER), "Range": header})
    expected = LARGE[span]
    assert answer.status_code == 206
    assert answer["Content-Length"] == str(len(expected))
    assert answer["Content-Range"].endswith(f"/{len(LARGE)}")
    assert body(answer) == expected
    assert downloads(sent_signals)[0]["size_bytes"] == len(expected)


def test_what_a_socket_may_hold_is_answered_at_once_and_the_rest_streamed(client: Client, large: Path) -> None:
    url = f"/artifacts/{digest_of(LARGE)}"
    small = client.get(url, headers=bearer(DOWNLOADER) | {"Range": f"bytes=0-{AT_ONCE - 1}"})
    larger = client.get(url, headers=bearer(DOWNLOADER) | {"Range": f"bytes=0-{AT_ONCE}"})
    assert (small.streaming, larger.streaming) == (False, True)
    assert body(small) + LARGE[AT_ONCE : AT_ONCE + 1] == body(larger) == LARGE[: AT_ONCE + 1]


def test_resumed_download_sums_to_the_size(client: Client, large: Path, sent_signals: Sent) -> None:
    url = f"/artifacts/{digest_of(LARGE)}"
    parts = [
        body(client.get(url, headers={**bearer(DOWNLOADER), "Range": header}))
        for header in ("bytes=0-599999", "bytes=600000-")
    ]
    assert b"".join(parts) == LARGE
    assert sum(values["size_bytes"] for values in downloads(sent_signals)) == len(LARGE)


def rot(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def cut(path: Path) -> None:
    """Shorter than the database has it."""
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("harm", [rot, cut])
def test_small_corrupt_artifact_is_an_error_and_is_marked(
    client: Client, stored: Path, harm: Callable[[Path], None], sent_signals: Sent
) -> None:
    harm(stored)
    answer = client.get(URL, headers=bearer(DOWNLOADER))
    assert (answer.status_code, answer.json()["code"]) == (502, "artifact_corrupt")
    assert downloads(sent_signals) == []


def test_large_corrupt_artifact_ends_before_its_last_block_and_is_marked(
    client: Client, large: Path, sent_signals: Sent
) -> None:
    rot(large)
    answer = client.get(f"/artifacts/{digest_of(LARGE)}", headers=bearer(DOWNLOADER))
    assert answer.status_code == 200
    received = b""
    with pytest.raises(ArtifactCorrupt):  # noqa: PT012  (it raises in between)
        for block in answer.streaming_content:  # type: ignore[attr-defined]
            received += block
    assert received == LARGE[: 3 * BLOCK_SIZE]
    assert Artifact.objects.get().corrupt_at is not None
    assert downloads(sent_signals) == []
    again = client.get(f"/artifacts/{digest_of(LARGE)}", headers=bearer(DOWNLOADER))
    assert again.status_code == 502


def test_range_of_a_corrupt_artifact_never_completes(client: Client, large: Path) -> None:
    rot(large)  # its last byte, which the range does not touch
    answer = client.get(f"/artifacts/{digest_of(LARGE)}", headers={**bearer(DOWNLOADER), "Range": "bytes=0-9"})
    assert answer.status_code == 502


def test_corrupt_object_without_a_row_is_marked_too(client: Client, root: Path) -> None:
    stored_at(root, CONTENT).parent.mkdir(parents=True)
    stored_at(root, CONTENT).write_bytes(b"rotten")
    assert client.get(URL, headers=bearer(DOWNLOADER)).status_code == 502
    assert Artifact.objects.get().corrupt_at is not None
    assert client.put(URL, CONTENT, headers=bearer()).status_code == 201
    assert body(client.get(URL, headers=bearer(DOWNLOADER))) == CONTENT


def test_client_that_leaves_makes_no_event_and_no_open_file(client: Client, large: Path, sent_signals: Sent) -> None:
    answer = client.get(f"/artifacts/{digest_of(LARGE)}", headers=bearer(DOWNLOADER))
    next(iter(answer.streaming_content))  # type: ignore[attr-defined]
    answer.close()
    open_files = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.exists()]
    assert large not in open_files
    assert downloads(sent_signals) == []


def test_empty_artifact_is_served(client: Client, location: Location, sent_signals: Sent) -> None:
    url = f"/artifacts/{digest_of(b'')}"
    client.put(url, b"", headers=bearer())
    answer = client.get(url, headers=bearer(DOWNLOADER))
    assert (answer.status_code, answer["Content-Length"], body(answer)) == (200, "0", b"")
    assert [values["size_bytes"] for values in downloads(sent_signals)] == [0]


def test_answer_that_a_client_has_it_names_what_it_has(client: Client, stored: Path) -> None:
    answer = client.get(URL, headers={**bearer(DOWNLOADER), "If-None-Match": f'"{DIGEST}"'})
    assert answer.status_code == 304
    assert answer["ETag"] == f'"{DIGEST}"'
    assert answer["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize("condition", ['"another"', f"{DIGEST}"])
def test_client_that_has_another_is_sent_this(client: Client, stored: Path, condition: str) -> None:
    assert body(client.get(URL, headers={**bearer(DOWNLOADER), "If-None-Match": condition})) == CONTENT


@pytest.mark.parametrize("role", [UPLOADER, DOWNLOADER])
def test_head_of_a_description_is_for_whom_the_description_is(client: Client, stored: Path, role: str) -> None:
    assert client.head(f"{URL}/describe", headers=bearer(role)).status_code == 200


def test_artifact_that_vanishes_before_it_is_opened_is_not_found(
    client: Client, stored: Path, monkeypatch: pytest.MonkeyPatch, sent_signals: Sent
) -> None:
    find = services.find

    def find_then_lose(*args: Any) -> services.Stored:
        found = find(*args)
        stored.unlink()
        return found

    monkeypatch.setattr(services, "find", find_then_lose)
    answer = client.get(URL, headers=bearer(DOWNLOADER))
    assert (answer.status_code, answer.json()["code"]) == (404, "artifact_not_found")
    assert downloads(sent_signals) == []


class Failing(io.BytesIO):
    """A stored file whose disk gives up after a while."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > BLOCK_SIZE:
            raise OSError(errno.EIO, "Input/output error")
        return super().read(size)


def test_disk_that_fails_half_way_ends_the_download_and_blames_no_artifact(
    client: Client, large: Path, monkeypatch: pytest.MonkeyPatch, sent_signals: Sent
) -> None:
    monkeypatch.setattr("artifacts.storage.filesystem.FileSystemStore.open", lambda *args: Failing(LARGE))
    answer = client.get(f"/artifacts/{digest_of(LARGE)}", headers=bearer(DOWNLOADER))
    with pytest.raises(StorageError):
        body(answer)
    assert Artifact.objects.get().corrupt_at is None
    assert downloads(sent_signals) == []


def test_corruption_that_the_database_cannot_be_told_of_is_an_error_all_the_same(
    client: Client, stored: Path, sent_signals: Sent
) -> None:
    def refuse_writes(execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        if sql.startswith(("INSERT", "UPDATE")):
            raise OperationalError("read-only")
        return execute(sql, *args)

    rot(stored)
    with connection.execute_wrapper(refuse_writes):
        answer = client.get(URL, headers=bearer(DOWNLOADER))
    assert (answer.status_code, answer.json()["code"]) == (502, "artifact_corrupt")
    assert downloads(sent_signals) == []


def test_artifact_found_corrupt_by_a_range_is_marked(client: Client, large: Path, sent_signals: Sent) -> None:
    rot(large)
    url = f"/artifacts/{digest_of(LARGE)}"
    client.get(url, headers={**bearer(DOWNLOADER), "Range": "bytes=0-0"})
    assert Artifact.objects.get().corrupt_at is not None
    assert downloads(sent_signals) == []


def test_name_in_a_link_that_could_mislead_is_refused(client: Client, stored: Path) -> None:
    answer = client.get(f"/download/{DIGEST}", {"t": make_token(DOWNLOADER), "filename": "exe\u202etxt"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_filename")


def test_artifact_is_never_a_page_to_a_browser(client: Client, location: Location) -> None:
    page = b"<script>alert(1)</script>"
    client.put(f"/artifacts/{digest_of(page)}?filename=x.html", page, content_type="text/html", headers=bearer())
    answer = client.get(f"/download/{digest_of(page)}", {"t": make_token(DOWNLOADER)})
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["Content-Disposition"].startswith("attachment")
    assert answer["Content-Security-Policy"] == "sandbox"
    answer.close()


def test_slow_reader_of_rot_does_not_mark_what_has_replaced_it(client: Client, large: Path) -> None:
    rot(large)
    url = f"/artifacts/{digest_of(LARGE)}"
    slow = client.get(url, headers=bearer(DOWNLOADER))
    with pytest.raises(ArtifactCorrupt):
        body(client.get(url, headers=bearer(DOWNLOADER)))
    assert client.put(url, LARGE, headers=bearer()).status_code == 201
    with pytest.raises(ArtifactCorrupt):
        body(slow)
    assert Artifact.objects.get().corrupt_at is None
    assert body(client.get(url, headers=bearer(DOWNLOADER))) == LARGE
