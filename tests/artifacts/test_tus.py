"""tus through Django's test client; what needs a real server is in tests/functional/test_resumable.py."""

import base64
import errno
import io
import json
import os
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.dispatch import Signal
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from artifacts import finishing, resumable, services, sweeping
from artifacts.exceptions import InvalidMetadata, StorageError, StorageFull, UploadBusy
from artifacts.models import Artifact, Location, ResumableUpload
from artifacts.signals import artifact_uploaded
from artifacts.storage import open_store
from artifacts.tokens import DOWNLOADER
from artifacts.tus import CONTENT_TYPE, parse_metadata
from audit.models import AuditEvent
from tests.factories import bearer, digest_of, files_in, make_grant, stored_at
from tests.object_servers import ObjectService
from tests.servers import wait_until

pytestmark = pytest.mark.django_db

UNKNOWN = "9f0c2f2e-3d0b-4a53-9f55-7f0b8c0f1a11"  # no upload, no organization
CONTENT = b"some content"
DIGEST = digest_of(CONTENT)

Sent = list[tuple[Signal, dict[str, Any]]]


def encode(**metadata: str | bytes) -> str:
    pairs = ((key, value.encode() if isinstance(value, str) else value) for key, value in metadata.items())
    return ",".join(f"{key} {base64.b64encode(value).decode()}" for key, value in pairs)


class Tus:
    """A client of the protocol; `claims` are its tokens'."""

    def __init__(self, client: Client, **claims: Any) -> None:
        self._client = client
        self._claims = claims

    def send(self, method: str, path: str, body: bytes = b"", **headers: str | None) -> Any:
        fields: dict[str, str | None] = {"Tus-Resumable": "1.0.0", **bearer(**self._claims)}
        content_type = headers.pop("Content_Type", CONTENT_TYPE)
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        present = {name: value for name, value in fields.items() if value is not None}
        wire: dict[str, Any] = {"CONTENT_TYPE": content_type or ""}
        return self._client.generic(method, path, body, headers=present, **wire)

    def create(self, length: int | None = len(CONTENT), body: bytes = b"", **headers: str | None) -> Any:
        return self.send("POST", "/uploads/", body, Upload_Length=None if length is None else str(length), **headers)

    def start(self, length: int = len(CONTENT), **metadata: str) -> str:
        answer = self.create(length, Upload_Metadata=encode(**metadata))
        assert answer.status_code == 201, answer.content
        address: str = answer["Location"]
        return address

    def patch(self, address: str, offset: int, body: bytes = b"", **headers: str | None) -> Any:
        return self.send("PATCH", address, body, Upload_Offset=str(offset), **headers)

    def head(self, address: str) -> Any:
        return self.send("HEAD", address)


@pytest.fixture
def tus(client: Client, location: Location) -> Tus:
    return Tus(client)


def events() -> list[tuple[str, bool, str]]:
    return [(row.action, row.skipped, row.file_name) for row in AuditEvent.objects.order_by("id")]


def test_upload_in_two_pieces_becomes_an_artifact(tus: Tus, root: Path, sent_signals: Sent) -> None:
    address = tus.start(filename="a.txt")
    first = tus.patch(address, 0, CONTENT[:5])
    assert (first.status_code, first["Upload-Offset"], first.content) == (204, "5", b"")
    assert "Content-Type" not in first
    assert "Content-Location" not in first
    assert files_in(root) == [root / ".incoming" / f"{address.split('/')[-1]}.partial"]
    last = tus.patch(address, 5, CONTENT[5:])
    assert (last.status_code, last["Upload-Offset"]) == (204, "12")
    assert last["Content-Location"] == f"/artifacts/{DIGEST}"
    assert last["Repr-Digest"] == DIGEST.as_structured_field()
    assert "Upload-Skipped" not in first
    assert [answer["Upload-Skipped"] for answer in (last, tus.head(address), tus.patch(address, 12))] == ["false"] * 3
    assert stored_at(root, CONTENT).read_bytes() == CONTENT
    assert files_in(root) == [stored_at(root, CONTENT)]
    assert Artifact.objects.get().file_name == "a.txt"
    assert [signal for signal, _ in sent_signals] == [artifact_uploaded]
    assert events() == [("CASArtifactUploaded", False, "a.txt")]


def test_creation_tells_where_and_for_how_long(tus: Tus, settings: Settings) -> None:
    settings.CAS_UPLOAD_EXPIRES_HOURS = 2
    answer = tus.create()
    assert answer.status_code == 201
    assert uuid.UUID(answer["Location"].removeprefix("/uploads/"))
    assert "Upload-Offset" not in answer
    left = parsedate_to_datetime(answer["Upload-Expires"]) - timezone.now()
    assert timedelta(minutes=119) < left <= timedelta(hours=2)


def test_head_tells_how_an_upload_stands(tus: Tus) -> None:
    metadata = encode(filename="ünï.txt", kind="x") + ",flag"
    address = tus.create(Upload_Metadata=metadata)["Location"]
    tus.patch(address, 0, CONTENT[:7])
    answer = tus.head(address)
    assert answer.status_code == 200
    assert (answer["Upload-Offset"], answer["Upload-Length"]) == ("7", "12")
    assert answer["Upload-Metadata"] == metadata
    assert answer["Cache-Control"] == "no-store"
    assert answer["Tus-Resumable"] == "1.0.0"
    assert "Upload-Expires" in answer


def test_head_of_a_finished_upload_names_the_artifact(tus: Tus) -> None:
    address = tus.start()
    tus.patch(address, 0, CONTENT)
    answer = tus.head(address)
    assert (answer["Upload-Offset"], answer["Upload-Length"]) == ("12", "12")
    assert answer["Content-Location"] == f"/artifacts/{DIGEST}"
    assert "Upload-Expires" not in answer


def test_creation_with_upload_takes_the_body(tus: Tus, root: Path) -> None:
    begun = tus.create(body=CONTENT[:5])
    assert (begun.status_code, begun["Upload-Offset"]) == (201, "5")
    assert tus.patch(begun["Location"], 5, CONTENT[5:]).status_code == 204
    whole = tus.create(body=CONTENT)
    assert (whole.status_code, whole["Upload-Offset"]) == (201, "12")
    assert whole["Content-Location"] == f"/artifacts/{DIGEST}"
    assert [skipped for _, skipped, _ in events()] == [False, True]
    assert files_in(root) == [stored_at(root, CONTENT)]


def test_creation_with_a_body_of_another_type_is_refused(tus: Tus, root: Path) -> None:
    assert tus.create(body=CONTENT, Content_Type="text/plain").status_code == 415
    assert not ResumableUpload.objects.exists()


@pytest.mark.parametrize("path", ["/uploads/", "/uploads"])
def test_options_tells_what_the_server_can_do_without_a_token(
    client: Client, db: None, settings: Settings, path: str
) -> None:
    settings.CAS_MAX_UPLOAD_BYTES = 1000
    answer = client.options(path)
    assert answer.status_code == 204
    assert (answer["Tus-Resumable"], answer["Tus-Version"]) == ("1.0.0", "1.0.0")
    assert answer["Tus-Extension"] == "creation,creation-with-upload,expiration,termination"
    assert answer["Tus-Max-Size"] == "1000"


@pytest.mark.parametrize("of_server", [0, 10**18])
def test_length_beyond_any_storages_is_refused_and_options_say_so(
    tus: Tus, client: Client, settings: Settings, of_server: int
) -> None:
    settings.CAS_MAX_UPLOAD_BYTES = of_server
    assert client.options(f"/uploads/{uuid.uuid4()}")["Tus-Max-Size"] == str(services.LARGEST)
    assert tus.create(services.LARGEST).status_code == 201
    assert tus.create(services.LARGEST + 1).status_code == 413
    assert tus.create(10**18 - 1).status_code == 413


def test_browsers_of_configured_origins_may_upload(client: Client, db: None, settings: Settings) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example.com"]
    wanted = "authorization,content-type,tus-resumable,upload-length,upload-metadata,upload-offset"
    preflight = client.options(
        "/uploads/",
        headers={
            "Origin": "https://app.example.com",
            "Access-Control-Request-Method": "PATCH",
            "Access-Control-Request-Headers": wanted,
        },
    )
    assert preflight["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert "PATCH" in preflight["Access-Control-Allow-Methods"]
    assert set(wanted.split(",")) <= set(preflight["Access-Control-Allow-Headers"].split(", "))
    answer = client.options("/uploads/", headers={"Origin": "https://app.example.com"})
    assert {"Location", "Upload-Offset", "Upload-Skipped", "Content-Location"} <= set(
        answer["Access-Control-Expose-Headers"].split(", ")
    )


@pytest.mark.parametrize("version", [None, "", "0.2.2", "1.0.1"])
@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH", "DELETE"])
def test_other_versions_are_refused_and_nothing_is_done(tus: Tus, method: str, version: str | None) -> None:
    address = "/uploads/" if method == "POST" else tus.start()
    before = ResumableUpload.objects.count()
    answer = tus.send(method, address, CONTENT, Tus_Resumable=version, Upload_Length="12", Upload_Offset="0")
    assert answer.status_code == 412
    assert (answer["Tus-Version"], answer["Tus-Resumable"]) == ("1.0.0", "1.0.0")
    if method != "HEAD":
        assert answer.json()["code"] == "unsupported_version"
    assert ResumableUpload.objects.count() == before


@pytest.mark.parametrize("address", ["/uploads/", f"/uploads/{UNKNOWN}"])
def test_uploads_need_an_uploader(client: Client, location: Location, address: str) -> None:
    for method in ("POST", "HEAD", "PATCH", "DELETE"):
        answer = Tus(client, role=DOWNLOADER).send(method, address)
        assert answer.status_code == 403
    assert client.post(address, headers={"Tus-Resumable": "1.0.0"}).status_code == 401


def test_get_is_not_a_method_of_uploads(tus: Tus) -> None:
    answer = tus.send("GET", tus.start())
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer["Tus-Resumable"] == "1.0.0"


def test_method_may_come_in_a_header(tus: Tus) -> None:
    address = tus.start()
    answer = tus.send("POST", address, CONTENT[:5], Upload_Offset="0", X_HTTP_Method_Override="PATCH")
    assert (answer.status_code, answer["Upload-Offset"]) == (204, "5")
    assert tus.send("POST", address, X_HTTP_Method_Override="DELETE").status_code == 204
    assert tus.send("POST", address, X_HTTP_Method_Override="NONSENSE").status_code == 405
    assert tus.send("POST", address, X_HTTP_Method_Override="dispatch").status_code == 405


@pytest.mark.parametrize("length", [None, "", "-1", "1.5", "0x10", "1" * 19, "१२", "12, 12", " "])
def test_creation_needs_a_length(tus: Tus, length: str | None) -> None:
    answer = tus.send("POST", "/uploads/", Upload_Length=length)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_header")
    assert answer["Content-Type"] == "application/problem+json"


def test_length_cannot_be_deferred(tus: Tus) -> None:
    answer = tus.create(None, Upload_Defer_Length="1")
    assert answer.status_code == 400
    assert "Upload-Defer-Length is not supported" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("of_token", "of_server", "status"), [(0, 0, 201), (12, 0, 201), (11, 0, 413), (0, 11, 413), (100, 11, 413)]
)
def test_limits_hold_at_creation(
    client: Client, location: Location, settings: Settings, of_token: int, of_server: int, status: int
) -> None:
    settings.CAS_MAX_UPLOAD_BYTES = of_server
    assert Tus(client, maxbytes=of_token).create().status_code == status
    assert ResumableUpload.objects.count() == (status == 201)


def test_token_that_allows_less_does_not_go_on_with_an_upload(client: Client, tus: Tus) -> None:
    assert Tus(client, maxbytes=5).patch(tus.start(), 0, CONTENT[:2]).status_code == 413


def test_quota_holds_at_creation_and_at_the_end(tus: Tus, location: Location, root: Path) -> None:
    Location.objects.update(quota_bytes=20)
    tus_address = tus.start()
    assert tus.create(21).status_code == 507
    Location.objects.update(used_bytes=15)
    answer = tus.patch(tus_address, 0, CONTENT)
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
    Location.objects.update(used_bytes=0)
    retried = tus.patch(tus_address, 12)
    assert (retried.status_code, retried["Upload-Offset"]) == (204, "12")
    assert stored_at(root, CONTENT).read_bytes() == CONTENT
    assert len(events()) == 1


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ("filename !!!", "invalid_metadata"),
        ("filename YQ", "invalid_metadata"),  # no padding
        ("filename YQ== YQ==", "invalid_metadata"),
        ("filename YQ==,filename Yg==", "invalid_metadata"),
        ("filename YQ==,", "invalid_metadata"),
        (",", "invalid_metadata"),
        ("fïle YQ==", "invalid_metadata"),
        ("file\tname YQ==", "invalid_metadata"),
        ("k " + "A" * 4096, "invalid_metadata"),
        (encode(filename="../etc/passwd"), "invalid_filename"),
        (encode(filename="a\nb"), "invalid_filename"),
        (encode(filename="x" * 256), "invalid_filename"),
        (encode(filename=b"\xff"), "invalid_filename"),
        (encode(digest=DIGEST.hex), "invalid_digest"),
        (encode(digest=f"sha256:{DIGEST.hex.upper()}"), "invalid_digest"),
        (encode(digest=b"\xff"), "invalid_digest"),
        ("digest", "invalid_digest"),
    ],
)
def test_bad_metadata_is_refused(tus: Tus, metadata: str, code: str) -> None:
    answer = tus.create(Upload_Metadata=metadata)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert not ResumableUpload.objects.exists()


def test_metadata_is_read_as_the_protocol_has_it() -> None:
    assert parse_metadata("") == {}
    assert parse_metadata("a YQ==, b,c ") == {"a": b"a", "b": b"", "c": b""}
    assert parse_metadata("filename w7w=,is-x") == {"filename": "ü".encode(), "is-x": b""}
    with pytest.raises(InvalidMetadata):
        parse_metadata(" ")


@pytest.mark.parametrize("content_type", ["", "application/octet-stream", "application/offset+octet-stream2"])
def test_patch_of_another_type_is_refused(tus: Tus, content_type: str) -> None:
    address = tus.start()
    answer = tus.patch(address, 0, CONTENT, Content_Type=content_type)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert tus.head(address)["Upload-Offset"] == "0"


@pytest.mark.parametrize("offset", [None, "", "-1", "five", "+5", "1" * 19])
def test_patch_needs_an_offset(tus: Tus, offset: str | None) -> None:
    answer = tus.send("PATCH", tus.start(), CONTENT, Upload_Offset=offset)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_header")


@pytest.mark.parametrize("offset", [0, 4, 6, 12, 10**18 - 1])
def test_patch_at_another_offset_changes_nothing(tus: Tus, offset: int) -> None:
    address = tus.start()
    tus.patch(address, 0, CONTENT[:5])
    answer = tus.patch(address, offset, b"x")
    assert (answer.status_code, answer.json()["code"]) == (409, "offset_mismatch")
    assert tus.head(address)["Upload-Offset"] == "5"


def test_finished_upload_takes_nothing_more(tus: Tus, root: Path) -> None:
    address = tus.start()
    tus.patch(address, 0, CONTENT)
    assert tus.patch(address, 0, CONTENT).status_code == 409
    assert tus.patch(address, 12, b"x").status_code == 413
    again = tus.patch(address, 12)
    assert (again.status_code, again["Content-Location"]) == (204, f"/artifacts/{DIGEST}")
    assert len(events()) == 1
    assert files_in(root) == [stored_at(root, CONTENT)]


def test_nothing_is_written_beyond_the_length(tus: Tus, root: Path) -> None:
    address = tus.start()
    tus.patch(address, 0, CONTENT[:5])
    assert tus.patch(address, 5, b"x" * 8).status_code == 413
    assert tus.head(address)["Upload-Offset"] == "5"


def patch_chunked(client: Client, address: str, offset: int, body: bytes) -> Any:
    headers = {**bearer(), "Tus-Resumable": "1.0.0", "Upload-Offset": str(offset), "Transfer-Encoding": "chunked"}
    wire: dict[str, Any] = {"wsgi.input": io.BytesIO(body), "CONTENT_TYPE": CONTENT_TYPE}
    return client.generic("PATCH", address, headers=headers, **wire)


@pytest.mark.parametrize("offset", [0, 5])
def test_chunked_body_is_taken_up_to_the_length(client: Client, tus: Tus, root: Path, offset: int) -> None:
    address = tus.start()
    tus.patch(address, 0, CONTENT[:offset])
    assert patch_chunked(client, address, offset, CONTENT[offset:] + b"x").status_code == 413
    assert tus.head(address)["Upload-Offset"] == str(offset)
    assert patch_chunked(client, address, offset, CONTENT[offset:]).status_code == 204
    assert stored_at(root, CONTENT).read_bytes() == CONTENT


class CutOff(io.BytesIO):
    """A body whose client leaves: a short read, or an error."""

    def __init__(self, content: bytes, error: OSError | None = None) -> None:
        super().__init__(content)
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(size)
        if not block and self._error:
            raise self._error
        return block


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
def test_what_arrived_before_the_client_left_is_kept(
    client: Client, tus: Tus, root: Path, error: OSError | None
) -> None:
    content = os.urandom(600_000)
    address = tus.start(len(content))
    headers = {**bearer(), "Tus-Resumable": "1.0.0", "Upload-Offset": "0"}
    wire: dict[str, Any] = {
        "wsgi.input": CutOff(content[:555_555], error),
        "CONTENT_LENGTH": "600000",
        "CONTENT_TYPE": CONTENT_TYPE,
    }
    answer = client.generic("PATCH", address, headers=headers, **wire)
    assert (answer.status_code, answer.json()["code"]) == (400, "incomplete_body")
    assert tus.head(address)["Upload-Offset"] == "555555"
    assert tus.patch(address, 555_555, content[555_555:]).status_code == 204
    assert stored_at(root, content).read_bytes() == content


def test_empty_upload_is_finished_when_it_is_created(tus: Tus, root: Path) -> None:
    answer = tus.create(0)
    assert (answer.status_code, answer["Upload-Offset"]) == (201, "0")
    assert answer["Content-Location"] == f"/artifacts/{digest_of(b'')}"
    assert stored_at(root, b"").read_bytes() == b""
    assert tus.patch(answer["Location"], 0).status_code == 204
    assert tus.head(answer["Location"])["Content-Location"] == f"/artifacts/{digest_of(b'')}"
    assert len(events()) == 1


def test_upload_that_the_version_before_has_finished_does_not_tell_how(tus: Tus) -> None:
    address = tus.start()
    tus.patch(address, 0, CONTENT)
    ResumableUpload.objects.update(skipped=None)
    assert "Upload-Skipped" not in tus.head(address)


def test_empty_upload_of_another_digest_is_refused(tus: Tus, root: Path) -> None:
    answer = tus.create(0, Upload_Metadata=encode(digest=str(DIGEST)))
    assert (answer.status_code, answer.json()["code"]) == (422, "digest_mismatch")
    assert not ResumableUpload.objects.exists()
    assert files_in(root) == []


def test_wrong_digest_ends_the_upload_and_leaves_nothing(tus: Tus, root: Path, sent_signals: Sent) -> None:
    address = tus.start(digest=str(digest_of(b"something else")))
    answer = tus.patch(address, 0, CONTENT)
    assert (answer.status_code, answer.json()["code"]) == (422, "digest_mismatch")
    assert tus.head(address).status_code == 404
    assert files_in(root) == []
    assert sent_signals == []


def test_right_digest_is_verified_and_stored(tus: Tus, root: Path) -> None:
    assert tus.patch(tus.start(digest=str(DIGEST)), 0, CONTENT).status_code == 204
    assert stored_at(root, CONTENT).read_bytes() == CONTENT


def put(client: Client, name: str = "first.txt", content: bytes = CONTENT) -> None:
    assert client.put(f"/artifacts/{digest_of(content)}?filename={name}", content, headers=bearer()).status_code == 201


def test_creation_of_what_is_there_needs_no_byte(client: Client, tus: Tus, root: Path) -> None:
    put(client)
    answer = tus.create(Upload_Metadata=encode(digest=str(DIGEST), filename="second.txt"))
    assert (answer.status_code, answer["Upload-Offset"]) == (201, "12")
    assert answer["Content-Location"] == f"/artifacts/{DIGEST}"
    found = tus.head(answer["Location"])
    assert found["Upload-Offset"] == "12"
    assert [answer["Upload-Skipped"], found["Upload-Skipped"]] == ["true", "true"]
    assert events() == [("CASArtifactUploaded", False, "first.txt"), ("CASArtifactUploaded", True, "second.txt")]


@pytest.mark.parametrize("sent", [CONTENT, CONTENT[:5], b""])
def test_client_that_begins_at_0_all_the_same_is_told_that_it_is_done(
    client: Client, tus: Tus, root: Path, sent: bytes
) -> None:
    put(client)
    address = tus.start(digest=str(DIGEST))
    answer = tus.patch(address, 0, sent)
    assert (answer.status_code, answer["Upload-Offset"]) == (204, "12")
    assert tus.patch(address, 5, CONTENT[5:]).status_code == 409
    assert len(events()) == 2
    assert files_in(root) == [stored_at(root, CONTENT)]


def test_what_is_there_under_another_length_is_not_taken_for_it(client: Client, tus: Tus) -> None:
    put(client)
    address = tus.start(5, digest=str(DIGEST))
    assert tus.head(address)["Upload-Offset"] == "0"
    assert tus.patch(address, 0, CONTENT[:5]).status_code == 422


def test_corrupt_artifact_is_replaced_by_an_upload_in_pieces(client: Client, tus: Tus, root: Path) -> None:
    put(client)
    stored_at(root, CONTENT).write_bytes(CONTENT[::-1])
    Artifact.objects.update(corrupt_at=timezone.now())
    address = tus.start(digest=str(DIGEST))
    assert tus.patch(address, 0, CONTENT).status_code == 204
    assert stored_at(root, CONTENT).read_bytes() == CONTENT
    assert Artifact.objects.get().corrupt_at is None


@pytest.mark.parametrize("digest", ["", str(DIGEST)])
def test_upload_overtaken_by_a_twin_is_skipped_at_its_end(client: Client, tus: Tus, root: Path, digest: str) -> None:
    address = tus.start(filename="late.txt", digest=digest) if digest else tus.start(filename="late.txt")
    tus.patch(address, 0, CONTENT[:5])
    put(client)
    last = tus.patch(address, 5, CONTENT[5:])
    assert (last.status_code, last["Content-Location"]) == (204, f"/artifacts/{DIGEST}")
    assert [last["Upload-Skipped"], tus.head(address)["Upload-Skipped"]] == ["true", "true"]
    assert events() == [("CASArtifactUploaded", False, "first.txt"), ("CASArtifactUploaded", True, "late.txt")]
    assert files_in(root) == [stored_at(root, CONTENT)]


@pytest.mark.parametrize("claims", [{"org-id": UNKNOWN}, {"org-id": None}, {"secret-id": "other"}])
def test_others_do_not_find_an_upload(client: Client, tus: Tus, root: Path, claims: dict[str, Any]) -> None:
    Location.objects.create(name="other", backend="FILESYSTEM", options={"location": str(root)})
    address = tus.start()
    other = Tus(client, **claims)
    assert other.head(address).status_code == 404
    answer = other.patch(address, 0, CONTENT)
    assert (answer.status_code, answer.json()["code"]) == (404, "upload_not_found")
    assert other.send("DELETE", address).status_code == 404
    ResumableUpload.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert other.head(address).status_code == 404
    assert tus.head(address).status_code == 410


def test_another_token_of_the_same_tenant_goes_on(client: Client, tus: Tus, root: Path) -> None:
    address = tus.start()
    tus.patch(address, 0, CONTENT[:5])
    assert Tus(client, jti="another").patch(address, 5, CONTENT[5:]).status_code == 204
    assert stored_at(root, CONTENT).exists()


def test_organization_may_be_any_text(client: Client, location: Location) -> None:
    nobody = Tus(client, **{"org-id": "x" * 1000})
    assert nobody.patch(nobody.start(), 0, CONTENT).status_code == 204
    assert events() == []


@pytest.mark.parametrize("upload_id", ["nonsense", UNKNOWN, "..%2f..%2fetc", "0" * 32])
def test_unknown_upload_is_not_found(tus: Tus, upload_id: str) -> None:
    assert tus.head(f"/uploads/{upload_id}").status_code in {404}


def test_deleted_upload_is_gone_with_its_bytes(tus: Tus, root: Path) -> None:
    address = tus.start()
    tus.patch(address, 0, CONTENT[:5])
    answer = tus.send("DELETE", address)
    assert (answer.status_code, answer["Tus-Resumable"]) == (204, "1.0.0")
    assert tus.head(address).status_code == 404
    assert tus.send("DELETE", address).status_code == 404
    assert files_in(root) == []


def test_deleting_a_finished_upload_leaves_the_artifact(tus: Tus, root: Path) -> None:
    address = tus.start()
    tus.patch(address, 0, CONTENT)
    assert tus.send("DELETE", address).status_code == 204
    assert stored_at(root, CONTENT).exists()


def test_upload_that_is_being_finished_cannot_be_deleted(tus: Tus) -> None:
    address = tus.start()
    ResumableUpload.objects.update(finishing_until=timezone.now() + timedelta(seconds=10))
    answer = tus.send("DELETE", address)
    assert (answer.status_code, answer.json()["code"]) == (423, "upload_busy")
    assert "Retry-After" in answer


def test_expired_upload_is_gone_for_good(tus: Tus, root: Path) -> None:
    address = tus.start()
    tus.patch(address, 0, CONTENT[:5])
    ResumableUpload.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    answer = tus.patch(address, 5, CONTENT[5:])
    assert (answer.status_code, answer.json()["code"]) == (410, "upload_expired")
    assert sweeping.sweep() == 1
    assert tus.head(address).status_code == 404
    assert files_in(root) == []


def test_each_patch_prolongs_an_upload(tus: Tus) -> None:
    address = tus.start()
    ResumableUpload.objects.update(expires_at=timezone.now() + timedelta(minutes=1))
    answer = tus.patch(address, 0, CONTENT[:5])
    assert parsedate_to_datetime(answer["Upload-Expires"]) - timezone.now() > timedelta(hours=23)
    assert sweeping.sweep() == 0


def test_sweep_leaves_what_is_being_finished(tus: Tus) -> None:
    tus.start()
    now = timezone.now()
    ResumableUpload.objects.update(expires_at=now - timedelta(1), finishing_until=now + timedelta(seconds=10))
    assert resumable.sweep_uploads() == 0


def test_sweep_removes_old_leftovers_everywhere_whichever_location_fails(
    tus: Tus, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "other"
    (other / ".incoming").mkdir(parents=True)
    Location.objects.create(name="gone", backend="FILESYSTEM", options={"location": str(tmp_path / "gone")})
    Location.objects.create(name="other", backend="FILESYSTEM", options={"location": str(other)})
    young, old = other / ".incoming" / "young", other / ".incoming" / "old"
    long_ago = (timezone.now() - timedelta(hours=26)).timestamp()
    for path in (young, old):
        path.write_bytes(b"x")
    os.utime(old, (long_ago, long_ago))
    assert sweeping.sweep() == 1
    assert files_in(other) == [young]
    assert "FILESYSTEM/gone" in caplog.text


def test_expired_upload_in_a_location_that_fails_keeps_nobody_else(tus: Tus, location: Location, root: Path) -> None:
    address = tus.start()
    tus.patch(address, 0, CONTENT[:5])
    tus.start()
    ResumableUpload.objects.update(expires_at=timezone.now() - timedelta(1))
    root.rename(root.parent / "elsewhere")
    assert resumable.sweep_uploads() == 2


def fail_once(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """The next upload that ends fails when its bytes are to be placed."""
    place = services._place

    def fail(*args: Any, **kwargs: Any) -> bool:
        monkeypatch.setattr(services, "_place", place)
        raise error

    monkeypatch.setattr(services, "_place", fail)


@pytest.mark.parametrize(("error", "status"), [(StorageError(), 502), (StorageFull(), 507)])
def test_end_that_the_storage_failed_is_repeated_by_an_empty_patch(
    tus: Tus, root: Path, monkeypatch: pytest.MonkeyPatch, sent_signals: Sent, error: Exception, status: int
) -> None:
    address = tus.start()
    fail_once(monkeypatch, error)
    assert tus.patch(address, 0, CONTENT).status_code == status
    assert sent_signals == []
    answer = tus.patch(address, 12)
    assert (answer.status_code, answer["Content-Location"]) == (204, f"/artifacts/{DIGEST}")
    assert len(sent_signals) == 1
    assert files_in(root) == [stored_at(root, CONTENT)]


def test_head_ends_an_upload_that_has_all_its_bytes(
    tus: Tus, root: Path, monkeypatch: pytest.MonkeyPatch, sent_signals: Sent
) -> None:
    address = tus.start()
    fail_once(monkeypatch, StorageError())
    tus.patch(address, 0, CONTENT)
    answer = tus.head(address)
    assert (answer["Upload-Offset"], answer["Content-Location"]) == ("12", f"/artifacts/{DIGEST}")
    assert len(sent_signals) == 1


def test_full_disk_in_the_middle_keeps_what_there_is(tus: Tus, monkeypatch: pytest.MonkeyPatch) -> None:
    address = tus.start()
    tus.patch(address, 0, CONTENT[:5])

    def be_full(descriptor: int, block: bytes) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as context:
        context.setattr("artifacts.storage.partial_file.write_all", be_full)
        assert tus.patch(address, 5, CONTENT[5:]).status_code == 507
    assert tus.head(address)["Upload-Offset"] == "5"
    assert tus.patch(address, 5, CONTENT[5:]).status_code == 204


def test_event_and_result_are_written_together(tus: Tus, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So no crash can come between them; here the result's write fails, which is no end, and it can be ended again."""
    address = tus.start()

    def refuse(execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        if sql.startswith("UPDATE") and '"result"' in sql.split("WHERE", maxsplit=1)[0]:
            raise OperationalError("no")
        return execute(sql, *args)

    with connection.execute_wrapper(refuse):
        answer = tus.patch(address, 0, CONTENT)
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert tus.head(address)["Content-Location"] == f"/artifacts/{DIGEST}"
    assert [skipped for _, skipped, _ in events()] == [False], "one upload, one event"


def test_request_that_finds_another_finishing_waits_for_its_result(
    tus: Tus, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = tus.start()
    open_store(location).partial(address.split("/")[-1]).append(0, CONTENT)
    ResumableUpload.objects.update(finishing_until=timezone.now() + timedelta(seconds=10))

    def let_it_finish(seconds: float) -> None:
        ResumableUpload.objects.update(result=DIGEST.hex, skipped=True, finishing_until=None)

    monkeypatch.setattr("artifacts.finishing.time.sleep", let_it_finish)
    answer = tus.patch(address, 12)
    assert (answer.status_code, answer["Content-Location"]) == (204, f"/artifacts/{DIGEST}")
    assert answer["Upload-Skipped"] == "true"
    assert events() == []


def test_request_does_not_wait_for_another_for_ever(
    tus: Tus, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id = tus.start().split("/")[-1]
    open_store(location).partial(upload_id).append(0, CONTENT)
    ResumableUpload.objects.update(finishing_until=timezone.now() + timedelta(seconds=10))
    monkeypatch.setattr(finishing, "PATIENCE", 0.2)
    with pytest.raises(UploadBusy):
        resumable.find(make_grant(role="uploader"), upload_id)


def test_dead_finisher_is_succeeded_when_its_lease_is_over(tus: Tus, location: Location) -> None:
    upload_id = tus.start().split("/")[-1]
    open_store(location).partial(upload_id).append(0, CONTENT)
    ResumableUpload.objects.update(finishing_until=timezone.now() + timedelta(seconds=0.3))
    assert resumable.find(make_grant(role="uploader"), upload_id).digest == DIGEST
    assert len(events()) == 1


class Wire(io.BytesIO):
    """A body on its way; `at_end` happens once its bytes were read."""

    length: int

    def __init__(self, content: bytes, at_end: Callable[[], object]) -> None:
        super().__init__(content)
        self._at_end: Callable[[], object] | None = at_end

    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(size)
        if self._at_end and self.tell() == len(self.getvalue()):
            at_end, self._at_end = self._at_end, None
            at_end()
        return block


def patch_while(client: Client, address: str, content: bytes, at_end: Callable[[], object]) -> Any:
    headers = {**bearer(), "Tus-Resumable": "1.0.0", "Upload-Offset": "0"}
    wire: dict[str, Any] = {
        "wsgi.input": Wire(content, at_end),
        "CONTENT_LENGTH": str(len(content)),
        "CONTENT_TYPE": CONTENT_TYPE,
    }
    return client.generic("PATCH", address, headers=headers, **wire)


def test_of_two_writers_at_one_offset_one_is_taken(client: Client, tus: Tus, root: Path) -> None:
    address = tus.start()
    loser = patch_while(client, address, b"x" * 6, lambda: tus.patch(address, 0, CONTENT[:5]))
    assert (loser.status_code, loser.json()["code"]) == (409, "offset_mismatch")
    assert tus.patch(address, 5, CONTENT[5:]).status_code == 204
    assert stored_at(root, CONTENT).read_bytes() == CONTENT


def test_writer_that_outlives_its_upload_leaves_nothing(client: Client, tus: Tus, root: Path) -> None:
    address = tus.start()
    late = patch_while(client, address, CONTENT[:5], lambda: tus.send("DELETE", address))
    assert late.status_code == 404
    assert files_in(root) == []


def test_writer_whose_upload_was_finished_meanwhile_is_told_so(client: Client, tus: Tus, root: Path) -> None:
    address = tus.start()
    late = patch_while(client, address, CONTENT[:5], lambda: tus.patch(address, 0, CONTENT))
    assert late.status_code in {204, 409}
    assert late.status_code == 409 or late["Upload-Skipped"] == "false"
    assert tus.head(address)["Upload-Offset"] == "12"
    assert files_in(root) == [stored_at(root, CONTENT)]
    assert len(events()) == 1


@pytest.mark.django_db(transaction=True)
def test_requests_that_race_to_finish_make_one_event(location: Location) -> None:
    grant = make_grant(role="uploader")
    upload_id = str(resumable.begin(grant, len(CONTENT)).upload_id)
    open_store(location).partial(upload_id).append(0, CONTENT)

    def find(_: int) -> resumable.Progress:
        try:
            return resumable.find(grant, upload_id)
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(find, range(6)))
    assert {progress.digest for progress in found} == {DIGEST}
    assert events() == [("CASArtifactUploaded", False, "")]


def test_one_that_is_finished_while_its_bytes_are_counted_has_all_of_them(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = make_grant(role="uploader")
    upload_id = str(resumable.begin(grant, len(CONTENT)).upload_id)
    open_store(location).partial(upload_id).append(0, CONTENT)
    before = resumable._find(grant, upload_id)
    assert resumable.find(grant, upload_id).digest == DIGEST
    monkeypatch.setattr(resumable, "_find", lambda *_: before)
    progress = resumable.find(grant, upload_id)
    assert (progress.offset, progress.digest) == (len(CONTENT), DIGEST)


def test_one_that_is_finished_twice_makes_one_event(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a kill when its event was kept, and its result was not."""
    grant = make_grant(role="uploader")
    upload_id = str(resumable.begin(grant, len(CONTENT)).upload_id)
    open_store(location).partial(upload_id).append(0, CONTENT)
    monkeypatch.setattr(finishing, "_discard_quietly", lambda *_: None)
    for _ in range(2):
        assert resumable.find(grant, upload_id).digest == DIGEST
        ResumableUpload.objects.update(result="", finishing_until=None)
    assert events() == [("CASArtifactUploaded", False, "")]


def test_one_that_failed_as_it_was_found_there_has_no_result(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was deferred for it must not go along with the next upload's event."""
    grant, store = make_grant(role="uploader"), open_store(location)
    upload_id = str(resumable.begin(grant, len(CONTENT)).upload_id)
    store.partial(upload_id).append(0, CONTENT)
    with store.stage(DIGEST, len(CONTENT), "") as staged:  # of a twin, without a label yet
        staged.write(CONTENT)
        staged.place(DIGEST)

    def fail(*_: Any) -> None:
        raise StorageError("it cannot be synced")

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "settle", fail)
        with pytest.raises(StorageError):
            resumable.find(grant, upload_id)
    other = str(resumable.begin(grant, 5).upload_id)
    store.partial(other).append(0, b"other")
    assert resumable.find(grant, other).digest == digest_of(b"other")
    assert ResumableUpload.objects.get(pk=upload_id).result == ""
    assert resumable.find(grant, upload_id).digest == DIGEST
    assert [skipped for _, skipped, _ in events()] == [False, True]


@pytest.mark.django_db(transaction=True)
def test_lease_is_kept_as_long_as_finishing_takes(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finishing, "LEASE", timedelta(seconds=0.3))
    grant = make_grant(role="uploader")
    upload_id = str(resumable.begin(grant, len(CONTENT)).upload_id)
    open_store(location).partial(upload_id).append(0, CONTENT)
    place = services._place
    leases: list[Any] = []

    def place_slowly(*args: Any, **kwargs: Any) -> bool:
        def is_kept() -> bool:
            leases.append(ResumableUpload.objects.get().finishing_until)
            return len(set(leases)) > 3

        wait_until(is_kept, 60, "the lease is prolonged again and again")
        return place(*args, **kwargs)

    monkeypatch.setattr(services, "_place", place_slowly)
    assert resumable.find(grant, upload_id).digest == DIGEST
    assert leases == sorted(leases)


def test_upload_that_takes_long_lives_on(tus: Tus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable, "TOUCHED", -1.0)
    content = os.urandom(600_000)
    address = tus.start(len(content))
    prolonged: list[ResumableUpload] = []
    touch = resumable._touch

    def remember(upload: ResumableUpload) -> None:
        prolonged.append(upload)
        touch(upload)

    monkeypatch.setattr(resumable, "_touch", remember)
    assert tus.patch(address, 0, content).status_code == 204
    assert len(prolonged) == 4  # at the start, and after each of three blocks


def test_any_storage_takes_uploads_in_pieces(client: Client, db: None, settings: Settings, sent_signals: Sent) -> None:
    # Its name is its own: stores, and with them what is in memory, are kept by name.
    settings.CAS_STORAGE_BACKENDS = {"MEMORY-TUS": "django.core.files.storage.InMemoryStorage"}
    location = Location.objects.create(name="default", backend="MEMORY-TUS")
    tus = Tus(client, backend="MEMORY-TUS")
    address = tus.start(filename="a.txt")
    assert tus.patch(address, 0, CONTENT[:5]).status_code == 204
    assert tus.head(address)["Upload-Offset"] == "5"
    assert tus.patch(address, 5, CONTENT[5:])["Content-Location"] == f"/artifacts/{DIGEST}"
    assert open_store(location).open(DIGEST).read(100) == CONTENT
    assert [signal for signal, _ in sent_signals] == [artifact_uploaded]
    assert not (settings.CAS_DATA_DIR / "incoming" / f"{address.split('/')[-1]}.partial").exists()


@pytest.mark.parametrize("digest", ["", "known"])
def test_object_store_takes_uploads_in_pieces(
    client: Client, db: None, service: ObjectService, bucket: str, sent_signals: Sent, digest: str
) -> None:
    content = os.urandom(10 * 1024**2)
    options = service.options(bucket, 0)
    location = Location.objects.create(name="default", backend=service.kind, options=options)
    tus = Tus(client, backend=service.kind)
    metadata = {"digest": str(digest_of(content))} if digest else {}
    address = tus.start(len(content), filename="a.bin", **metadata)
    assert tus.patch(address, 0, content[:9_000_000])["Upload-Offset"] == "9000000"
    assert tus.patch(address, 0, content).status_code == 409
    last = tus.patch(address, 9_000_000, content[9_000_000:])
    assert last["Content-Location"] == f"/artifacts/{digest_of(content)}"
    with closing(open_store(location).open(digest_of(content))) as file:
        assert b"".join(iter(lambda: file.read(1024**2), b"")) == content
    assert [signal for signal, _ in sent_signals] == [artifact_uploaded]
    assert open_store(location).sweep(timezone.now() + timedelta(1)) == 0


def test_upload_that_is_kept_alive_keeps_its_bytes_and_nobody_elses_leftovers(tus: Tus, root: Path) -> None:
    address = tus.start()
    tus.patch(address, 0, CONTENT[:5])
    ResumableUpload.objects.update(created_at=timezone.now() - timedelta(days=9))
    left = root / ".incoming" / "left"
    left.touch()
    long_ago = (timezone.now() - timedelta(days=8)).timestamp()
    for path in files_in(root):
        os.utime(path, (long_ago, long_ago))
    assert tus.patch(address, 5).status_code == 204
    assert sweeping.sweep() == 1
    assert not left.exists()
    assert tus.patch(address, 5, CONTENT[5:])["Content-Location"] == f"/artifacts/{DIGEST}"


def test_admin_shows_progress_and_gives_up_an_upload(admin_client: Client, tus: Tus, root: Path) -> None:
    address = tus.start(filename="a.txt")
    tus.patch(address, 0, CONTENT[:6])
    listing = admin_client.get("/admin/artifacts/resumableupload/").content.decode()
    assert "50 %" in listing
    url = f"/admin/artifacts/resumableupload/{address.split('/')[-1]}"
    page = admin_client.get(f"{url}/change/").content.decode()
    assert "6 of 12" in page
    assert 'name="_save"' not in page
    assert admin_client.get("/admin/artifacts/resumableupload/add/").status_code == 403
    answer = admin_client.post(f"{url}/delete/", {"post": "yes"}, follow=True)
    assert "was deleted successfully" in answer.content.decode()
    assert AuditEvent.objects.filter(action="CASResumableUploadDeleted").count() == 1
    assert files_in(root) == []
    assert tus.head(address).status_code == 404


def test_admin_gives_up_many_and_says_what_stays(admin_client: Client, tus: Tus, root: Path) -> None:
    addresses = [tus.start(), tus.start()]
    for address in addresses:
        tus.patch(address, 0, CONTENT[:6])
    busy = ResumableUpload.objects.get(pk=addresses[0].split("/")[-1])
    ResumableUpload.objects.filter(pk=busy.pk).update(finishing_until=timezone.now() + timedelta(seconds=10))
    selected = {"action": "delete_selected", "_selected_action": [a.split("/")[-1] for a in addresses], "post": "yes"}
    answer = admin_client.post("/admin/artifacts/resumableupload/", selected, follow=True)
    assert "is being made an artifact" in answer.content.decode()
    assert "Successfully deleted" not in answer.content.decode()
    assert list(ResumableUpload.objects.all()) == [busy]
    [act] = AuditEvent.objects.filter(action="CASResumableUploadDeleted")
    assert json.loads(act.payload)["Data"]["Info"]["target_key"] == addresses[1].split("/")[-1]
    url = f"/admin/artifacts/resumableupload/{busy}/delete/"
    answer = admin_client.post(url, {"post": "yes"}, follow=True)
    assert "is being made an artifact" in answer.content.decode()
    assert "was deleted successfully" not in answer.content.decode()
    assert AuditEvent.objects.filter(action="CASResumableUploadDeleted").count() == 1


def test_admin_bears_a_storage_that_fails(admin_client: Client, tus: Tus, root: Path) -> None:
    address = tus.start()
    root.rename(root.parent / "elsewhere")
    assert "? of 12" in admin_client.get("/admin/artifacts/resumableupload/").content.decode()
    url = f"/admin/artifacts/resumableupload/{address.split('/')[-1]}"
    assert "? of 12" in admin_client.get(f"{url}/change/").content.decode()
    answer = admin_client.post(f"{url}/delete/", {"post": "yes"}, follow=True)
    assert "not its bytes yet" in answer.content.decode()
    assert not ResumableUpload.objects.exists()


def test_admin_of_readers_deletes_nothing(client: Client, tus: Tus) -> None:
    address = tus.start()
    client.force_login(User.objects.create_user("reader", is_staff=True))
    url = f"/admin/artifacts/resumableupload/{address.split('/')[-1]}/delete/"
    assert client.post(url, {"post": "yes"}).status_code == 403
