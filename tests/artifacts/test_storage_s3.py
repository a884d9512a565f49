"""The seam to object stores: a real S3 API, through the HTTP views."""

import random
import socket
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from django.db import connection
from django.test import Client
from moto.server import ThreadedMotoServer
from pytest_django import Settings

from artifacts.exceptions import ArtifactNotFound, StorageError
from artifacts.models import Location
from artifacts.storage import open_store
from artifacts.storage.probe import probe
from artifacts.tokens import DOWNLOADER
from tests.factories import bearer, digest_of

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


@pytest.fixture
def impatient(settings: Settings) -> None:
    """Given up on at once; django-storages takes such a thing from Django's settings alone."""
    settings.AWS_S3_CLIENT_CONFIG = Config(retries={"max_attempts": 0}, connect_timeout=1, read_timeout=1)


def location_at(endpoint: str) -> Location:
    location = Location(name="bucket", backend="AWS-S3", options=options(endpoint))
    location.credentials = {"access_key": "us", "secret_key": SECRET}
    location.save()
    return location


@pytest.mark.usefixtures("impatient")
def test_absent_server_is_a_storage_error(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    location = location_at("http://127.0.0.1:1")
    open_store(location)  # its settings are right
    for answer in (client.put(URL, CONTENT, headers=bearer(**IN_S3)), client.get(URL, headers=reader())):
        assert (answer.status_code, answer.json()["code"]) == (502, "storage_error")
        assert SECRET not in answer.content.decode()
    assert "EndpointConnectionError" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.usefixtures("impatient")
def test_server_that_takes_the_connection_and_never_answers_is_a_storage_error(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        location_at(f"http://127.0.0.1:{silent.getsockname()[1]}")
        answer = client.put(URL, CONTENT, headers=bearer(**IN_S3))
    assert (answer.status_code, answer.json()["code"]) == (502, "storage_error")


@pytest.mark.usefixtures("bucket")  # moto's servers in one process share their buckets
def test_server_that_went_away_is_a_storage_error_to_a_store_that_knew_it(client: Client, settings: Settings) -> None:
    settings.AWS_S3_CLIENT_CONFIG = Config(retries={"max_attempts": 0})  # while it is there, it may take its time
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    location_at(f"http://{host}:{port}")
    assert client.put(URL, CONTENT, headers=bearer(**IN_S3)).status_code == 201
    server.stop()
    answer = client.get(URL, headers=reader())
    assert (answer.status_code, answer.json()["code"]) == (502, "storage_error")


def reader() -> dict[str, str]:
    return bearer(DOWNLOADER, **IN_S3)


def test_headers_are_those_of_any_other_location(client: Client, location: Location, bucket: Any) -> None:
    client.put(URL, CONTENT, headers=bearer(**IN_S3))
    part = client.get(URL, headers={**reader(), "Range": "bytes=5-8"})
    assert (part.status_code, part["Content-Range"], part["Content-Length"]) == (206, "bytes 5-8/12", "4")
    assert b"".join(part) == CONTENT[5:9]
    assert client.get(URL, headers={**reader(), "Range": "bytes=12-"}).status_code == 416
    head = client.head(URL, headers=reader())
    assert (head["ETag"], head["Repr-Digest"]) == (f'"{DIGEST}"', DIGEST.as_structured_field())


def test_artifact_of_several_parts_goes_up_and_comes_down(client: Client, location: Location, bucket: Any) -> None:
    content = random.Random(1).randbytes(20 * 1024**2)  # more than boto3 sends or fetches at once
    digest = digest_of(content)
    stored = client.post(
        "/artifacts/", content, content_type="application/octet-stream", headers=bearer(**IN_S3, maxbytes=len(content))
    )
    assert (stored.status_code, stored.json()["digest"]) == (201, str(digest))
    assert bucket.Object(str(digest)).content_length == len(content)
    answer = client.get(f"/download/{digest}", headers=reader())
    assert digest_of(b"".join(answer)) == digest


def test_addressing_style_is_an_option(client: Client, location: Location, bucket: Any) -> None:
    location.options["addressing_style"] = "path"
    location.save()
    assert client.put(URL, CONTENT, headers=bearer(**IN_S3)).status_code == 201
    assert b"".join(client.get(URL, headers=reader())) == CONTENT


def test_requests_are_signed_with_the_credentials_that_were_kept_encrypted(location: Location, bucket: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM artifacts_location")
        assert SECRET not in str(cursor.fetchall())
    store = open_store(Location.objects.get())
    signatures: list[str] = []

    def note(request: Any, **kwargs: Any) -> None:
        signatures.append(str(request.headers["Authorization"]))

    events = store._storage.connection.meta.client.meta.events  # type: ignore[attr-defined]
    events.register("before-send.s3", note)
    store.stat(DIGEST)
    events.unregister("before-send.s3", note)
    assert signatures
    assert "Credential=us/" in signatures[0]


def test_object_that_went_is_not_found(location: Location, bucket: Any) -> None:
    store = open_store(location)
    with pytest.raises(ArtifactNotFound):
        store.open(DIGEST)
    store.delete(DIGEST)


def test_location_prefix_goes_before_the_key(location: Location, bucket: Any) -> None:
    location.options["location"] = "cas"
    with open_store(location).stage() as staged:
        staged.write(CONTENT)
        assert staged.place(DIGEST) is True
    assert [item.key for item in bucket.objects.all()] == [f"cas/{DIGEST}"]
