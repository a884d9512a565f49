"""The seam to object stores: a real S3 API, through the HTTP views."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from django.test import Client
from moto.server import ThreadedMotoServer

from artifacts.exceptions import StorageError
from artifacts.models import Location
from artifacts.storage import open_store
from artifacts.storage.probe import probe
from artifacts.tokens import DOWNLOADER
from tests.factories import bearer, digest_of
from tests.servers import free_port

pytestmark = pytest.mark.django_db

CONTENT = b"some content"
DIGEST = digest_of(CONTENT)
URL = f"/artifacts/{DIGEST}"
IN_S3 = {"backend": "AWS-S3", "secret-id": "bucket"}
SECRET = "hunter2-hunter2"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str) -> Iterator[Any]:
    """An empty bucket, as others see it."""
    resource = boto3.resource(
        "s3",
        endpoint_url=endpoint,
        region_name="eu-central-1",
        aws_access_key_id="others",
        aws_secret_access_key="others",
    )
    bucket = resource.Bucket("artifacts")
    bucket.create(CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    yield bucket
    bucket.objects.all().delete()
    bucket.delete()
    resource.meta.client.close()


@pytest.fixture
def location(endpoint: str) -> Location:
    location = Location(name="bucket", backend="AWS-S3", options=options(endpoint))
    location.credentials = {"access_key": "us", "secret_key": SECRET}
    location.full_clean()
    location.save()
    return location


def options(endpoint: str) -> dict[str, str]:
    return {"endpoint_url": endpoint, "bucket_name": "artifacts", "region_name": "eu-central-1"}


def test_artifact_goes_up_and_comes_down(client: Client, location: Location, bucket: Any) -> None:
    stored = client.put(f"{URL}?filename=a.txt", CONTENT, headers=bearer(**IN_S3))
    assert stored.status_code == 201, stored.content
    assert [item.key for item in bucket.objects.all()] == [str(DIGEST)]
    assert client.put(URL, CONTENT, headers=bearer(**IN_S3)).json()["skipped"] is True
    reader = bearer(DOWNLOADER, **IN_S3)
    assert client.head(URL, headers=reader)["Content-Length"] == "12"
    assert client.get(f"{URL}/describe", headers=reader).json()["file_name"] == "a.txt"
    assert b"".join(client.get(URL, headers=reader)) == CONTENT
    assert b"".join(client.get(URL, headers={**reader, "Range": "bytes=5-"})) == CONTENT[5:]


def test_wrong_digest_leaves_no_object(client: Client, location: Location, bucket: Any) -> None:
    assert client.put(URL, b"other bytes", headers=bearer(**IN_S3)).status_code == 422
    assert list(bucket.objects.all()) == []


def test_object_that_others_wrote_is_there_and_is_served(client: Client, location: Location, bucket: Any) -> None:
    bucket.put_object(Key=str(DIGEST), Body=CONTENT)
    reader = bearer(DOWNLOADER, **IN_S3)
    assert b"".join(client.get(URL, headers=reader)) == CONTENT
    assert client.get(f"{URL}/describe", headers=reader).json()["created_at"].startswith("20")
    assert client.put(URL, CONTENT, headers=bearer(**IN_S3)).json()["skipped"] is True


def test_corrupt_object_is_an_error_and_is_healed(client: Client, location: Location, bucket: Any) -> None:
    bucket.put_object(Key=str(DIGEST), Body=CONTENT[::-1])
    reader = bearer(DOWNLOADER, **IN_S3)
    assert client.get(URL, headers=reader).json()["code"] == "artifact_corrupt"
    assert client.put(URL, CONTENT, headers=bearer(**IN_S3)).status_code == 201
    assert b"".join(client.get(URL, headers=reader)) == CONTENT


def test_what_is_not_there_is_not_found(client: Client, location: Location, bucket: Any) -> None:
    assert client.get(URL, headers=bearer(DOWNLOADER, **IN_S3)).json()["code"] == "artifact_not_found"


def test_probe_leaves_nothing(location: Location, bucket: Any) -> None:
    probe(open_store(location))
    assert list(bucket.objects.all()) == []


def test_missing_bucket_is_a_storage_error_that_tells_no_secret(
    client: Client, location: Location, caplog: pytest.LogCaptureFixture
) -> None:
    answer = client.put(URL, CONTENT, headers=bearer(**IN_S3))
    assert (answer.status_code, answer.json()["code"]) == (502, "storage_error")
    assert SECRET not in answer.content.decode()
    assert SECRET not in caplog.text
    with pytest.raises(StorageError):
        probe(open_store(location))


def test_absent_server_is_a_storage_error(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "storages.backends.s3.S3Storage.config", Config(retries={"max_attempts": 0}, connect_timeout=1), raising=False
    )
    location = Location(name="bucket", backend="AWS-S3", options=options(f"http://127.0.0.1:{free_port()}"))
    location.credentials = {"access_key": "us", "secret_key": SECRET}
    location.save()
    answer = client.put(URL, CONTENT, headers=bearer(**IN_S3))
    assert (answer.status_code, answer.json()["code"]) == (502, "storage_error")
