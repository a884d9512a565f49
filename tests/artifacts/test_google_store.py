"""What is Google's own: generations, and credentials that come as a key file's JSON."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.api_core.exceptions import PreconditionFailed

from artifacts.storage.backends import find_backend
from artifacts.storage.gcs import GoogleStore
from tests.artifacts.conftest import Services
from tests.artifacts.test_object_stores import CONTENT, DIGEST, LARGE, LARGE_DIGEST, put
from tests.object_servers import GoogleService


@pytest.fixture
def service(services: Services, monkeypatch: pytest.MonkeyPatch) -> GoogleService:
    service = services.get("GCS")
    assert isinstance(service, GoogleService)
    for name, value in service.environment().items():
        monkeypatch.setenv(name, value)
    return service


def make_store(service: GoogleService, bucket: str, **options: Any) -> GoogleStore:
    store = find_backend("GCS").make_store({**service.options(bucket), **options})
    assert isinstance(store, GoogleStore)
    return store


def test_credentials_are_the_json_of_a_key_file(monkeypatch: pytest.MonkeyPatch) -> None:
    key = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    info = {
        "type": "service_account",
        "client_email": "cas@tests.iam.gserviceaccount.com",
        "private_key": key.decode(),
        "token_uri": "http://127.0.0.1:1/token",
    }
    options = json.loads(json.dumps({"bucket_name": "a", "project_id": "p", "credentials": info}))
    store = find_backend("GCS").make_store(options)
    assert isinstance(store, GoogleStore)
    assert store._storage.client._credentials.service_account_email == info["client_email"]


def test_object_parameters_hold_for_every_upload(service: GoogleService) -> None:
    bucket = service.new_bucket()
    parameters = {"cache_control": "private", "content_type": "text/plain", "metadata": {"team": "a"}}
    store = make_store(service, bucket, object_parameters=parameters)
    put(store, CONTENT, file_name="a")
    put(store, LARGE, file_name="b")
    for digest, name in ((DIGEST, "a"), (LARGE_DIGEST, "b")):
        blob = service.client().bucket(bucket).get_blob(str(digest))
        assert blob.cache_control == "private"
        assert blob.metadata == {"team": "a", "filename": name}


class _Session:
    """The store's session, whose requests are noted; Google checks what fake-gcs-server ignores."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.urls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def request(self, method: str, url: str, **options: Any) -> Any:
        self.urls.append(url)
        return self._session.request(method, url, **options)


def test_uploads_in_parts_and_copies_carry_their_condition(service: GoogleService) -> None:
    store = make_store(service, service.new_bucket())
    client = store._storage.client
    client._http_internal = session = _Session(client._http)

    def conditions(part: str) -> list[str]:
        found = [url.partition("ifGenerationMatch=")[2].partition("&")[0] for url in session.urls if part in url]
        session.urls.clear()
        return found

    put(store, LARGE, digest=LARGE_DIGEST)
    assert conditions("uploadType=resumable") == ["0"]
    generation = store._find(str(LARGE_DIGEST)).generation
    put(store, LARGE, digest=LARGE_DIGEST, replace=True)
    assert conditions("uploadType=resumable") == [str(generation)]
    put(store, LARGE)
    assert conditions("/rewriteTo/") == ["0"]
    put(store, LARGE, replace=True)
    assert conditions("/rewriteTo/") == [""]


def test_copy_whose_condition_does_not_hold_leaves_the_twins(
    service: GoogleService, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = service.new_bucket()
    store = make_store(service, bucket)

    def refuse(*_: object, **__: object) -> None:
        raise PreconditionFailed("twin")  # type: ignore[no-untyped-call]

    monkeypatch.setattr("google.cloud.storage.Blob.rewrite", refuse)
    assert put(store, LARGE) is False
    assert service.keys(bucket) == []
