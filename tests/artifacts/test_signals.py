"""The signals: their arguments, when they are sent, and that receivers cannot harm a transfer."""

import os
from typing import Any

import pytest
from django.dispatch import Signal
from django.test import Client

from artifacts.block_hashes import HASHED_BLOCK
from artifacts.models import Artifact, Location
from artifacts.signals import artifact_deduplicated, artifact_downloaded, artifact_uploaded
from artifacts.tokens import DOWNLOADER, UPLOADER
from tests.factories import ORGANIZATION, bearer, digest_of

pytestmark = pytest.mark.django_db

CONTENT = b"some content"
URL = f"/artifacts/{digest_of(CONTENT)}"

Sent = list[tuple[Signal, dict[str, Any]]]


def test_each_transfer_sends_one_with_the_documented_arguments(
    client: Client, location: Location, sent_signals: Sent
) -> None:
    internal = {"source-internal": True}
    client.put(f"{URL}?filename=a.txt", CONTENT, headers=bearer(UPLOADER, **internal))
    client.put(URL, CONTENT, headers=bearer())
    b"".join(client.get(URL, headers=bearer(DOWNLOADER, **{"org-id": "acme"})))
    common = {
        "digest": digest_of(CONTENT).hex,
        "size_bytes": 12,
        "file_name": "a.txt",
        "backend": "FILESYSTEM",
        "location": "default",
        "org_id": str(ORGANIZATION),
        "source_internal": False,
        "event_id": None,
    }
    assert sent_signals == [
        (artifact_uploaded, {**common, "source_internal": True}),
        (artifact_deduplicated, common),
        (artifact_downloaded, {**common, "org_id": "acme"}),
    ]


@pytest.mark.parametrize(
    ("method", "content", "query", "status"),
    [
        ("put", b"other bytes", "", 422),
        ("put", CONTENT, "?filename=..", 400),
        ("get", b"", "", 404),
    ],
)
def test_failed_transfer_sends_none(
    client: Client, location: Location, sent_signals: Sent, method: str, content: bytes, query: str, status: int
) -> None:
    role = UPLOADER if method == "put" else DOWNLOADER
    answer = client.generic(method.upper(), f"{URL}{query}", content, headers=bearer(role))
    assert answer.status_code == status
    assert sent_signals == []


def test_receiver_that_raises_fails_no_transfer_and_is_logged(
    client: Client, location: Location, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**values: Any) -> None:
        raise RuntimeError("receiver failed")

    for signal in (artifact_uploaded, artifact_downloaded):
        signal.connect(fail)
    assert client.put(URL, CONTENT, headers=bearer()).status_code == 201
    assert b"".join(client.get(URL, headers=bearer(DOWNLOADER))) == CONTENT
    for signal in (artifact_uploaded, artifact_downloaded):
        signal.disconnect(fail)
    assert caplog.text.count("RuntimeError: receiver failed") == 2


def test_sender_is_the_model_of_artifacts(client: Client, location: Location) -> None:
    senders: list[type] = []

    def remember(sender: type, **values: Any) -> None:
        senders.append(sender)

    for signal in (artifact_uploaded, artifact_deduplicated, artifact_downloaded):
        signal.connect(remember)
    client.put(URL, CONTENT, headers=bearer())
    client.put(URL, CONTENT, headers=bearer())
    b"".join(client.get(URL, headers=bearer(DOWNLOADER)))
    for signal in (artifact_uploaded, artifact_deduplicated, artifact_downloaded):
        signal.disconnect(remember)
    assert senders == [Artifact] * 3


def test_receiver_that_raises_fails_no_skipped_upload_either(
    client: Client, location: Location, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**values: Any) -> None:
        raise RuntimeError("receiver failed")

    client.put(URL, CONTENT, headers=bearer())
    artifact_deduplicated.connect(fail)
    assert client.put(URL, CONTENT, headers=bearer()).status_code == 200
    artifact_deduplicated.disconnect(fail)
    assert "RuntimeError: receiver failed" in caplog.text


def test_receiver_that_raises_keeps_no_other_from_hearing(
    client: Client, location: Location, sent_signals: Sent
) -> None:
    def fail(**values: Any) -> None:
        raise RuntimeError("receiver failed")

    artifact_uploaded.connect(fail)
    client.put(URL, CONTENT, headers=bearer())
    artifact_uploaded.disconnect(fail)
    assert [signal for signal, _ in sent_signals] == [artifact_uploaded]


def test_download_is_announced_once_before_its_last_piece(
    client: Client, location: Location, sent_signals: Sent
) -> None:
    content = os.urandom(3 * HASHED_BLOCK)
    url = f"/artifacts/{digest_of(content)}"
    client.put(url, content, headers=bearer())
    sent_signals.clear()
    answer = client.get(url, headers=bearer(DOWNLOADER))
    blocks = iter(answer)
    assert next(blocks) + next(blocks) == content[: 2 * HASHED_BLOCK]
    assert sent_signals == []
    assert next(blocks) == content[2 * HASHED_BLOCK :]
    assert [signal for signal, _ in sent_signals] == [artifact_downloaded]
    assert next(blocks, None) is None
    answer.close()
    assert len(sent_signals) == 1
