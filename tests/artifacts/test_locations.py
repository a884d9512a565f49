"""Locations: which token reaches which, and how their credentials are kept."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import IntegrityError, connection
from django.test import Client
from pytest_django import Settings

from artifacts import credentials
from artifacts.credentials import CredentialsUnreadable
from artifacts.exceptions import StorageError
from artifacts.models import Location
from artifacts.storage import open_store
from artifacts.tokens import DOWNLOADER
from audit.models import AuditEvent
from tests.factories import ORGANIZATION, bearer, digest_of

pytestmark = pytest.mark.django_db

CONTENT = b"some content"
DIGEST = digest_of(CONTENT)
URL = f"/artifacts/{DIGEST}"
SECRET = {"access_key": "AKIA123", "secret_key": "hunter2"}


def test_locations_keep_their_artifacts_apart(client: Client, location: Location, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    Location.objects.create(name="other", backend="FILESYSTEM", options={"location": str(tmp_path / "other")})
    client.put(URL, CONTENT, headers=bearer())
    other = {"secret-id": "other"}
    assert client.get(URL, headers=bearer(DOWNLOADER, **other)).status_code == 404
    assert client.put(URL, CONTENT, headers=bearer(**other)).status_code == 201


@pytest.mark.parametrize(
    ("org_id", "status"),
    [
        (str(ORGANIZATION), 201),
        (str(ORGANIZATION).upper(), 201),
        ("11111111-1111-1111-1111-111111111111", 403),
        ("acme", 403),
        ("", 403),
    ],
)
def test_bound_location_takes_its_organization_alone(
    client: Client, location: Location, org_id: str, status: int
) -> None:
    location.organization = ORGANIZATION
    location.save()
    assert client.put(URL, CONTENT, headers=bearer(**{"org-id": org_id})).status_code == status


def test_name_is_unique_for_each_backend(location: Location) -> None:
    Location.objects.create(name="default", backend="AWS-S3", options={"bucket_name": "b"})
    with pytest.raises(IntegrityError):
        Location.objects.create(name="default", backend="FILESYSTEM")


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"backend": "FTP"}, "Unknown backend. Known are: AWS-S3, AzureBlob, FILESYSTEM, GCS."),
        ({"options": {}}, "FILESYSTEM needs: location."),
        ({"options": ["location"]}, "This must be a JSON object."),
        ({"options": 5}, "This must be a JSON object."),
        ({"backend": "AWS-S3"}, "AWS-S3 needs: bucket_name."),
        ({"backend": "AzureBlob"}, "AzureBlob needs: azure_container."),
        ({"backend": "GCS"}, "GCS needs: bucket_name."),
    ],
)
def test_wrong_settings_are_named(values: dict[str, Any], complaint: str) -> None:
    location = Location(**{"name": "a", "backend": "FILESYSTEM", "options": {"location": "/x"}, **values})
    with pytest.raises(ValidationError) as caught:
        location.full_clean()
    assert complaint in caught.value.messages


@pytest.mark.parametrize("value", ["", None])
@pytest.mark.parametrize(("backend", "option"), [("FILESYSTEM", "location"), ("AWS-S3", "bucket_name")])
def test_option_that_is_given_empty_is_missing(backend: str, option: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        Location(name="a", backend=backend, options={option: value}).full_clean()
    assert f"{backend} needs: {option}." in caught.value.messages


def test_settings_that_are_right_pass(tmp_path: Path) -> None:
    Location(name="a", backend="FILESYSTEM", options={"location": str(tmp_path)}).full_clean()


def test_backend_of_the_token_must_be_that_of_the_location(client: Client, location: Location) -> None:
    answer = client.put(URL, CONTENT, headers=bearer(backend="AWS-S3"))
    assert (answer.status_code, answer.json()["code"]) == (404, "location_not_found")


@pytest.mark.parametrize("name", ["../default", "/etc/passwd", "DEFAULT", "", "https://127.0.0.1/"])
def test_secret_id_is_a_name_and_nothing_else(client: Client, location: Location, name: str) -> None:
    answer = client.put(URL, CONTENT, headers=bearer(**{"secret-id": name}))
    assert (answer.status_code, answer.json()["code"]) == (404, "location_not_found")


@pytest.mark.parametrize("call", ["get", "head", "describe", "download"])
def test_bound_location_is_closed_to_others_for_every_call(client: Client, location: Location, call: str) -> None:
    client.put(URL, CONTENT, headers=bearer())
    location.organization = ORGANIZATION
    location.save()
    stranger = bearer(DOWNLOADER, **{"org-id": "11111111-1111-1111-1111-111111111111"})
    path = {"describe": f"{URL}/describe", "download": f"/download/{DIGEST}"}.get(call, URL)
    answer = (client.head if call == "head" else client.get)(path, headers=stranger)
    assert answer.status_code == 403
    if call != "head":
        assert answer.json()["code"] == "wrong_organization"


@pytest.mark.parametrize(
    ("form", "status"),
    [("{}", 201), ("{{{}}}", 201), ("urn:uuid:{}", 201), ("-{}", 403), ("{}-", 403), ("urn:{}", 403)],
)
def test_organization_of_a_bound_location_is_the_one_that_its_events_name(
    client: Client, location: Location, form: str, status: int
) -> None:
    location.organization = ORGANIZATION
    location.save()
    answer = client.put(URL, CONTENT, headers=bearer(**{"org-id": form.format(ORGANIZATION)}))
    assert answer.status_code == status
    assert AuditEvent.objects.filter(org_id=ORGANIZATION).exists() is (status == 201)


def test_credentials_are_encrypted_in_the_database(location: Location) -> None:
    location.credentials = SECRET
    location.save()
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM artifacts_location")
        assert "hunter2" not in str(cursor.fetchall())
    assert Location.objects.get().credentials == SECRET


def test_no_credentials_are_an_empty_object(location: Location) -> None:
    assert location.credentials == {}
    location.credentials = SECRET
    location.credentials = {}
    assert location.encrypted_credentials == ""


def test_new_key_reads_what_the_old_one_wrote_and_rotation_frees_it(location: Location, settings: Settings) -> None:
    (old,) = settings.CAS_CREDENTIAL_KEYS
    new = Fernet.generate_key().decode()
    location.credentials = SECRET
    settings.CAS_CREDENTIAL_KEYS = [new, old]
    assert location.credentials == SECRET
    location.encrypted_credentials = credentials.rotate(location.encrypted_credentials)
    settings.CAS_CREDENTIAL_KEYS = [new]
    assert location.credentials == SECRET


def test_credentials_of_a_lost_key_are_unreadable(location: Location, settings: Settings) -> None:
    location.credentials = SECRET
    settings.CAS_CREDENTIAL_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(CredentialsUnreadable):
        _ = location.credentials
    with pytest.raises(CredentialsUnreadable):
        credentials.rotate(location.encrypted_credentials)
    with pytest.raises(StorageError):
        open_store(location)


def test_credentials_need_a_key(location: Location, settings: Settings) -> None:
    settings.CAS_CREDENTIAL_KEYS = []
    with pytest.raises(ImproperlyConfigured, match="CAS_CREDENTIAL_KEYS"):
        location.credentials = SECRET


def test_unreadable_credentials_are_an_error_of_the_server_and_tell_nothing(
    client: Client, location: Location, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    location.credentials = SECRET
    location.save()
    lost, settings.CAS_CREDENTIAL_KEYS = settings.CAS_CREDENTIAL_KEYS[0], [Fernet.generate_key().decode()]
    answer = client.put(URL, CONTENT, headers=bearer())
    assert (answer.status_code, answer.json()["code"]) == (502, "storage_error")
    for told in (answer.content.decode(), caplog.text):
        assert not [secret for secret in (lost, *settings.CAS_CREDENTIAL_KEYS, *SECRET.values()) if secret in told]


def test_changed_credentials_make_a_new_store(location: Location) -> None:
    location.credentials = {"base_url": "/a/"}
    store = open_store(location)
    location.credentials = {"base_url": "/b/"}
    assert open_store(location) is not store


def test_saved_change_of_a_folder_holds_from_the_next_request(
    client: Client, location: Location, tmp_path: Path
) -> None:
    client.put(URL, CONTENT, headers=bearer())
    (tmp_path / "moved").mkdir()
    location.options = {"location": str(tmp_path / "moved")}
    location.save()
    assert client.get(URL, headers=bearer(DOWNLOADER)).status_code == 404


def test_store_is_kept_until_its_location_changes(location: Location, tmp_path: Path) -> None:
    store = open_store(location)
    assert open_store(Location.objects.get()) is store
    location.options = {"location": str(tmp_path)}
    assert open_store(location) is not store


@pytest.mark.parametrize(
    ("backend", "options"), [("FILESYSTEM", {"no_such_option": 1}), ("FTP", {}), ("AWS-S3", {"no_such_option": 1})]
)
def test_settings_that_make_no_store_are_a_storage_error(backend: str, options: dict[str, Any]) -> None:
    with pytest.raises(StorageError):
        open_store(Location(name="a", backend=backend, options=options))
