"""Where a storage may be, told when a location is saved and when it is connected to."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.core.exceptions import ValidationError
from django.test import Client
from pytest_django import Settings

from artifacts.checks import check_allowed_hosts, check_storage_hosts
from artifacts.exceptions import StorageError
from artifacts.location_form import LocationForm
from artifacts.models import Location
from artifacts.storage import open_store
from artifacts.storage.hosts import HostNotAllowed, check_options, require_allowed
from artifacts.storage.http import prepare
from tests.artifacts.test_errors import assert_problem
from tests.factories import bearer, digest_of
from tests.servers import free_port

KEYS = {"access_key": "a", "secret_key": "s", "bucket_name": "b", "region_name": "r"}
ONCE = {"max_retries": 0, "connect_timeout": 5, "read_timeout": 5}

INSIDE = [
    "http://127.0.0.1:9000",
    "http://127.8.8.8",
    "http://[::1]:9000",
    "http://[::ffff:127.0.0.1]",
    "http://0.0.0.0",
    "http://localhost:6379",
    "http://minio.localhost",
    "http://2130706433",
    "http://0x7f.1",
    "http://169.254.169.254/latest",
    "http://[fe80::1]",
    "http://[fd00:ec2::254]",
    "http://100.100.100.200",
    "http://[64:ff9b::a9fe:a9fe]",
    "http://user:pass@169.254.169.254@127.0.0.1",
]


@pytest.fixture(autouse=True)
def production(settings: Settings) -> None:
    settings.CAS_STORAGE_HOSTS = []


@pytest.mark.parametrize("url", INSIDE)
def test_machine_itself_and_metadata_are_refused(url: str) -> None:
    with pytest.raises(HostNotAllowed):
        check_options({"endpoint_url": url})


@pytest.mark.parametrize(
    "options",
    [
        {"proxies": {"https": "http://127.0.0.1:3128"}},
        {"custom_domain": "127.0.0.1:10000"},
        {"connection_string": "BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;AccountName=x"},
        {"client_options": {"api_endpoint": "http://169.254.169.254"}},
        {"credentials": {"token_uri": "http://169.254.169.254/token"}},
    ],
)
def test_host_is_found_wherever_an_option_has_it(options: dict[str, Any]) -> None:
    with pytest.raises(HostNotAllowed):
        check_options(options)


def test_private_and_public_addresses_are_allowed() -> None:
    check_options({"endpoint_url": "http://10.1.2.3:9000", "proxies": {"http": "http://192.0.2.1"}})


def test_development_may_use_itself(settings: Settings) -> None:
    settings.DEBUG = True
    check_options({"endpoint_url": "http://127.0.0.1:9000"})
    with pytest.raises(HostNotAllowed):
        check_options({"endpoint_url": "http://169.254.169.254"})


def test_list_allows_nothing_else(settings: Settings) -> None:
    settings.CAS_STORAGE_HOSTS = ["*.example.com", "10.0.0.0/8"]
    require_allowed("S3.example.com", ["192.0.2.7"])
    require_allowed("other.test", ["10.9.9.9"])
    with pytest.raises(HostNotAllowed):
        require_allowed("other.test", ["192.0.2.7"])
    with pytest.raises(HostNotAllowed):
        require_allowed("example.com.evil.test", ["192.0.2.7"])


def test_name_on_the_list_does_not_lead_inside(settings: Settings) -> None:
    settings.CAS_STORAGE_HOSTS = ["*.example.com"]
    with pytest.raises(HostNotAllowed):
        require_allowed("s3.example.com", ["192.0.2.7", "169.254.169.254"])


def test_location_is_not_saved_with_it() -> None:
    location = Location(name="x", backend="AWS-S3", options={**KEYS, "endpoint_url": "http://127.0.0.1:9000"})
    with pytest.raises(ValidationError, match="CAS_STORAGE_HOSTS"):
        location.clean()


@pytest.mark.django_db
def test_form_refuses_it_in_credentials() -> None:
    secret = '{"endpoint_url": "http://169.254.169.254"}'
    form = LocationForm(
        {"name": "x", "backend": "AWS-S3", "options": '{"bucket_name": "b"}', "new_credentials": secret}
    )
    assert not form.is_valid()
    assert "may be connected to" in str(form.errors["new_credentials"])


def test_stored_location_is_not_opened() -> None:
    location = Location(name="x", backend="AWS-S3", options={**KEYS, "endpoint_url": "http://127.0.0.1:9000"})
    with pytest.raises(StorageError) as raised:
        open_store(location)
    assert isinstance(raised.value.__cause__, HostNotAllowed)


@pytest.mark.django_db
@pytest.mark.parametrize("backend", ["AWS-S3", "GCS"])
def test_clients_are_not_told_which_host_it_is(
    client: Client, google_key: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: Any, backend: str
) -> None:
    options: dict[str, Any] = {**KEYS, **ONCE, "endpoint_url": "http://127.0.0.1:9000"}
    if backend == "GCS":  # told when it is connected to, by what the name stands for then
        monkeypatch.setattr("artifacts.storage.hosts._resolve", lambda host: ["169.254.169.254"])
        key = {**google_key, "token_uri": "http://inside.test/token"}
        options = {"bucket_name": "b", "project_id": "p", "credentials": key, **ONCE}
    Location.objects.create(name="default", backend=backend, options=options)
    headers = bearer(backend=backend)
    answer = client.put(f"/artifacts/{digest_of(b'content')}", b"content", headers=headers)
    assert_problem(answer, 502, "storage_error")
    for host in ("127.0.0.1", "inside.test", "169.254.169.254"):
        assert host not in answer.content.decode()
    assert "was not connected to: see CAS_STORAGE_HOSTS" in caplog.text


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A service on this machine, under a name that only resolves to it once it is asked for a connection."""
    with socket.create_server(("127.0.0.1", free_port())) as server:
        server.settimeout(0.2)
        real = socket.getaddrinfo

        def resolve(host: Any, *arguments: Any, **options: Any) -> Any:
            return real("127.0.0.1" if host == "rebound.test" else host, *arguments, **options)

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        yield server


def has_had_bytes(server: socket.socket) -> bool:
    try:
        connection, _ = server.accept()
    except TimeoutError:
        return False
    with connection:
        connection.settimeout(60)
        return connection.recv(1) != b""


def test_name_that_leads_inside_is_not_connected_to(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    options = {**KEYS, **ONCE, "endpoint_url": f"http://rebound.test:{port}", "addressing_style": "path"}
    store = open_store(Location(name="x", backend="AWS-S3", options=options))
    with pytest.raises(StorageError):
        store.stat(digest_of(b""))
    assert not has_had_bytes(listener)


@pytest.fixture(scope="module")
def google_key() -> dict[str, str]:
    """A service account's key file, without its `token_uri`."""
    key = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {"type": "service_account", "client_email": "cas@tests.test", "private_key": key.decode()}


def test_token_is_not_asked_for_inside(listener: socket.socket, google_key: dict[str, str]) -> None:
    key = {**google_key, "token_uri": f"http://rebound.test:{listener.getsockname()[1]}/token"}
    options = {"bucket_name": "b", "project_id": "p", "credentials": key, **ONCE}
    store = open_store(Location(name="x", backend="GCS", options=options))
    with ThreadPoolExecutor(1) as pool:
        had_bytes = pool.submit(has_had_bytes, listener)
        with pytest.raises(StorageError) as raised:
            store.stat(digest_of(b""))
        assert isinstance(raised.value.__cause__, HostNotAllowed)
        assert not had_bytes.result()


def test_machine_gets_its_own_token_wherever_it_is_told_to(
    listener: socket.socket, google_key: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = listener.getsockname()[1]
    key_file = tmp_path / "key.json"
    key_file.write_text(json.dumps({**google_key, "token_uri": f"http://127.0.0.1:{port}/token"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file))
    store = open_store(Location(name="x", backend="GCS", options={"bucket_name": "b", "project_id": "p", **ONCE}))
    listener.settimeout(60)
    with ThreadPoolExecutor(1) as pool:
        had_bytes = pool.submit(has_had_bytes, listener)
        with pytest.raises(StorageError):
            store.stat(digest_of(b""))
        assert had_bytes.result()


def test_name_that_changes_between_looking_and_connecting_gets_no_byte(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("artifacts.storage.hosts._resolve", lambda host: ["192.0.2.1"])
    with prepare(requests.Session()) as session, pytest.raises(HostNotAllowed):
        session.get(f"http://rebound.test:{listener.getsockname()[1]}/", timeout=5)
    assert not has_had_bytes(listener)


def test_proxy_is_a_host_too(listener: socket.socket) -> None:
    proxy = f"http://rebound.test:{listener.getsockname()[1]}"
    with prepare(requests.Session()) as session, pytest.raises(HostNotAllowed):
        session.get("http://192.0.2.1/", proxies={"http": proxy}, timeout=5)
    assert not has_had_bytes(listener)


@pytest.mark.django_db
def test_check_names_a_stored_location(settings: Settings) -> None:
    Location.objects.create(name="x", backend="AWS-S3", options={**KEYS, "endpoint_url": "http://169.254.169.254"})
    (message,) = check_storage_hosts(databases=["default"])
    assert message.id == "artifacts.W002"
    assert "AWS-S3/x" in message.msg
    assert check_storage_hosts() == []


def test_entry_that_is_no_host_is_an_error(settings: Settings) -> None:
    settings.CAS_STORAGE_HOSTS = ["10.0.0.0/33", "https://x", "*.example.com", "::1"]
    assert [message.id for message in check_allowed_hosts()] == ["artifacts.E006"] * 2
