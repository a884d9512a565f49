"""What is S3's own: endpoints that differ from AWS, and its client's configuration."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.config import Config
from pytest_django import Settings

from artifacts.exceptions import OffsetMismatch, StorageError, StorageFull
from artifacts.storage import s3
from artifacts.storage.backends import find_backend
from artifacts.storage.object_service import MAX_PARTS
from artifacts.storage.s3 import S3Store
from artifacts.storage.staging import part_sizes
from tests.artifacts.conftest import Services
from tests.artifacts.test_object_stores import CONTENT, DIGEST, LARGE, LARGE_DIGEST, put, read
from tests.factories import digest_of
from tests.object_servers import S3Service

MIB = 1024**2


@pytest.fixture
def service(services: Services) -> S3Service:
    service = services.get("AWS-S3")
    assert isinstance(service, S3Service)
    return service


@pytest.fixture
def bucket(service: S3Service) -> str:
    return service.new_bucket()


def make_store(service: S3Service, bucket: str, **options: Any) -> S3Store:
    store = find_backend("AWS-S3").make_store({**service.options(bucket), **options})
    assert isinstance(store, S3Store)
    return store


@pytest.fixture
def store(service: S3Service, bucket: str) -> S3Store:
    return make_store(service, bucket)


class _Body:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self._content


def answering(store: S3Store, status: int, code: str, times: int, when: Callable[[AWSRequest], bool]) -> list[str]:
    """Let the store's client see this answer instead of the server's; returns the methods that saw it."""
    seen: list[str] = []

    def answer(request: AWSRequest, **_: object) -> AWSResponse | None:
        if not when(request) or len(seen) >= times:
            return None
        seen.append(request.method)
        body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        return AWSResponse(request.url, status, {"content-type": "application/xml"}, _Body(body))

    store._client.meta.events.register("before-send.s3", answer)
    return seen


def is_conditional(request: AWSRequest) -> bool:
    return "If-None-Match" in request.headers


@pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (400, "InvalidArgument")])
@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["small", "large"])
def test_endpoint_that_does_not_know_conditions_is_looked_at_before(
    store: S3Store, service: S3Service, bucket: str, status: int, code: str, content: bytes
) -> None:
    seen = answering(store, status, code, 100, is_conditional)
    assert put(store, content, digest=digest_of(content)) is True
    assert put(store, content) is False
    assert put(store, b"other") is True
    assert len(seen) == 1  # it is remembered
    partial, other = store.partial("a"), store.partial("a")
    assert other.size() == 0
    partial.append(0, b"x")
    with pytest.raises(OffsetMismatch):
        other.append(0, b"y")
    assert service.unfinished(bucket) == 0


def test_bad_request_for_another_reason_is_an_error_and_conditions_stay(store: S3Store) -> None:
    answering(store, 400, "InvalidArgument", 2, lambda request: request.method == "PUT")
    with pytest.raises(StorageError):
        put(store, CONTENT)
    assert put(store, CONTENT) is True
    seen = answering(store, 200, "", 0, is_conditional)
    assert put(store, CONTENT) is False
    assert seen == []


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "_CONFLICT_PAUSES", (0.01, 0.01))


@pytest.mark.usefixtures("hurried")
def test_conflict_with_a_twin_that_comes_to_nothing_is_tried_again(store: S3Store) -> None:
    seen = answering(store, 409, "ConditionalRequestConflict", 1, is_conditional)
    assert put(store, CONTENT) is True
    assert seen == ["PUT"]


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["small", "large"])
def test_conflict_with_a_twin_that_succeeds_is_its_success(
    store: S3Store, service: S3Service, bucket: str, content: bytes
) -> None:
    service.put(bucket, str(digest_of(content)), content)
    answering(store, 409, "ConditionalRequestConflict", 9, is_conditional)
    assert put(store, content, digest=digest_of(content)) is False
    assert service.unfinished(bucket) == 0


@pytest.mark.usefixtures("hurried")
def test_conflict_of_an_upload_in_parts_that_stays_is_an_error(store: S3Store, service: S3Service, bucket: str) -> None:
    answering(store, 409, "ConditionalRequestConflict", 9, is_conditional)
    with pytest.raises(StorageError):
        put(store, LARGE, digest=LARGE_DIGEST)
    assert (service.keys(bucket), service.unfinished(bucket)) == ([], 0)


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
def test_failed_part_fails_the_upload_and_leaves_nothing(
    store: S3Store, service: S3Service, bucket: str, is_known: bool
) -> None:
    answering(store, 403, "AccessDenied", 9, lambda request: "partNumber=2" in request.url)
    with pytest.raises(StorageError):
        put(store, LARGE, digest=LARGE_DIGEST if is_known else None)
    assert (service.keys(bucket), service.unfinished(bucket)) == ([], 0)


def test_discard_that_fails_hides_no_other_error(
    store: S3Store, service: S3Service, bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    answering(store, 403, "AccessDenied", 9, lambda request: request.method == "DELETE")
    with pytest.raises(KeyError), store.stage(LARGE_DIGEST) as staged:  # noqa: PT012  (the block is the point)
        staged.write(LARGE)
        raise KeyError
    assert "left something behind" in caplog.text
    assert service.unfinished(bucket) == 1


@pytest.mark.parametrize("code", ["QuotaExceeded", "XMinioStorageFull"])
def test_quota_is_a_full_storage(store: S3Store, code: str) -> None:
    answering(store, 403, code, 9, lambda request: request.method == "PUT")
    with pytest.raises(StorageFull):
        put(store, CONTENT)


def test_copy_within_the_service_goes_in_ranges(
    store: S3Store, service: S3Service, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "COPY_BYTES", 8 * MIB)
    assert put(store, LARGE) is True
    assert read(store, LARGE_DIGEST) == LARGE
    assert service.keys(bucket) == [str(LARGE_DIGEST)]


def test_copy_that_fails_leaves_nothing(store: S3Store, service: S3Service, bucket: str) -> None:
    answering(store, 403, "AccessDenied", 9, lambda request: "x-amz-copy-source" in request.headers)
    with pytest.raises(StorageError):
        put(store, LARGE)
    assert (service.keys(bucket), service.unfinished(bucket)) == ([], 0)


def test_object_parameters_and_acl_hold_for_every_upload(service: S3Service, bucket: str) -> None:
    parameters = {"StorageClass": "STANDARD_IA", "Metadata": {"team": "a"}}
    store = make_store(service, bucket, object_parameters=parameters, default_acl="private")
    put(store, CONTENT, file_name="a.txt")
    put(store, LARGE, file_name="b.txt")
    for digest, name in ((DIGEST, "a.txt"), (LARGE_DIGEST, "b.txt")):
        found = service.client().head_object(Bucket=bucket, Key=str(digest))
        assert (found["StorageClass"], found["Metadata"]) == ("STANDARD_IA", {"team": "a", "filename": name})


def test_uploads_of_others_are_not_swept(store: S3Store, service: S3Service, bucket: str) -> None:
    service.client().create_multipart_upload(Bucket=bucket, Key="backups/today")
    service.client().create_multipart_upload(Bucket=bucket, Key=str(DIGEST))
    store.page_size = 1
    assert store.sweep(datetime.now(UTC) + timedelta(minutes=1)) == 1
    assert service.unfinished(bucket) == 1


def test_upload_in_parts_that_is_young_is_not_swept(store: S3Store, service: S3Service, bucket: str) -> None:
    now = datetime.now(UTC)

    def set_time(parsed: dict[str, Any], **_: object) -> None:  # moto's uploads are all of 2010
        for upload in parsed.get("Uploads", ()):
            upload["Initiated"] = now

    store._client.meta.events.register("after-call.s3.ListMultipartUploads", set_time)
    with store.stage(LARGE_DIGEST) as staged:
        staged.write(LARGE)
        assert store.sweep(now - timedelta(seconds=1)) == 0
        assert staged.place(LARGE_DIGEST) is True


def test_upload_in_parts_that_grows_is_not_swept(store: S3Store, service: S3Service, bucket: str) -> None:
    """Begun long ago, as all of moto's were; of its parts only the last is young."""
    cut = datetime.now(UTC) - timedelta(minutes=1)

    def age(parsed: dict[str, Any], **_: object) -> None:
        for part in parsed.get("Parts", ()):
            if part["PartNumber"] == 1:
                part["LastModified"] = cut - timedelta(days=1)

    store._client.meta.events.register("after-call.s3.ListParts", age)
    store.page_size = 1
    with store.stage(LARGE_DIGEST) as staged:
        staged.write(LARGE + bytes(8 * MIB))
        assert store.sweep(cut) == 0
        assert service.unfinished(bucket) == 1
        assert store.sweep(datetime.now(UTC) + timedelta(minutes=1)) == 1
        assert service.unfinished(bucket) == 0


def test_upload_in_parts_that_ends_while_it_is_looked_at_is_no_error(
    store: S3Store, service: S3Service, bucket: str
) -> None:
    service.client().create_multipart_upload(Bucket=bucket, Key=str(DIGEST))
    answering(store, 404, "NoSuchUpload", 1, lambda request: request.method == "GET" and "uploadId=" in request.url)
    assert store.sweep(datetime.now(UTC)) == 0


def test_wrong_credentials_are_a_storage_error(tmp_path: Path) -> None:
    service = S3Service(tmp_path, INITIAL_NO_AUTH_ACTION_COUNT="1")
    service.start()
    try:
        bucket = f"bucket-{uuid4().hex[:8]}"
        service.make_bucket(bucket)  # the one action that is not checked
        for use in (lambda store: store.stat(DIGEST), lambda store: store.open(DIGEST), lambda store: put(store, b"")):
            with pytest.raises(StorageError):
                use(make_store(service, bucket))
    finally:
        service.stop()


def config_of(store: S3Store) -> Any:
    return store._client.meta.config


def test_client_gives_up_soon_and_has_a_connection_for_each_thread(store: S3Store) -> None:
    config = config_of(store)
    assert (config.connect_timeout, config.read_timeout, config.retries["total_max_attempts"]) == (5, 30, 3)
    assert config.max_pool_connections >= 64
    assert config.request_checksum_calculation == "when_required"


def test_client_config_overrules_and_leaves_the_other_options(service: S3Service, bucket: str) -> None:
    given = {"read_timeout": 7, "s3": {"payload_signing_enabled": True}}
    config = config_of(make_store(service, bucket, client_config=given, addressing_style="path", connect_timeout=2))
    assert (config.connect_timeout, config.read_timeout) == (2, 7)
    assert config.s3 == {"payload_signing_enabled": True, "addressing_style": "path"}


def test_client_config_of_djangos_settings_overrules(service: S3Service, bucket: str, settings: Settings) -> None:
    settings.AWS_S3_CLIENT_CONFIG = Config(read_timeout=9)
    assert config_of(make_store(service, bucket)).read_timeout == 9


def test_no_checksum_is_computed_besides_the_signature(store: S3Store) -> None:
    names: set[str] = set()

    def note(request: AWSRequest, **_: object) -> None:
        names.update(name.lower() for name in request.headers)

    store._client.meta.events.register("before-send.s3", note)
    put(store, LARGE)
    put(store, CONTENT)
    assert not {name for name in names if name.startswith("x-amz-checksum") or name == "content-md5"}
    assert "x-amz-content-sha256" in names


def test_parts_of_unknown_length_hold_100_gib_in_little_memory() -> None:
    sizes = part_sizes(None)
    parts = [next(sizes) for _ in range(MAX_PARTS)]
    assert sum(parts) > 250 * 1024**3
    assert max(parts) <= 32 * MIB
    assert not [size for size in parts if size % (256 * 1024)]


@pytest.mark.parametrize("length", [0, 1, 8 * MIB, 100 * 1024**3, 5 * 1024**4])
def test_parts_of_known_length_are_equal_and_suffice(length: int) -> None:
    sizes = part_sizes(length)
    size = next(sizes)
    assert size == next(sizes) == next(sizes)
    assert size * MAX_PARTS >= length
    assert size % MIB == 0
