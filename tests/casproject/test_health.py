"""Liveness and readiness."""

from pathlib import Path

import pytest
from django.db import InterfaceError, OperationalError, connection
from django.test import Client
from pytest_django import Settings

from artifacts.models import Location


def test_livez_needs_nothing(client: Client) -> None:
    answer = client.get("/livez")  # without the database, or pytest-django would object
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_readyz_with_everything(client: Client, location: Location, settings: Settings) -> None:
    settings.NATS_URL = "nats://127.0.0.1:1"  # nobody is there, and it does not matter
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "database": "ok", "location": "ok"})


@pytest.mark.django_db
def test_readyz_without_a_default_location(client: Client) -> None:
    assert client.get("/readyz").status_code == 200


def test_readyz_without_the_default_locations_folder(client: Client, location: Location, root: Path) -> None:
    root.rmdir()
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "failed", "database": "ok", "location": "failed"})
    assert str(root) not in answer.content.decode()


@pytest.mark.django_db
def test_readyz_without_the_database(client: Client) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OperationalError("no route to db.internal")

    with connection.execute_wrapper(refuse):
        answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "failed", "database": "failed", "location": "unknown"}
    assert "db.internal" not in answer.content.decode()


def test_livez_without_the_database(client: Client, location: Location) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OperationalError("no route to db.internal")

    with connection.execute_wrapper(refuse):
        assert client.get("/livez").status_code == 200


def test_database_that_failed_once_is_asked_again(client: Client, location: Location) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise InterfaceError("connection already closed")

    with connection.execute_wrapper(refuse):
        assert client.get("/readyz").status_code == 503
    assert client.get("/readyz").status_code == 200


def test_readyz_when_the_folder_is_back(client: Client, location: Location, root: Path) -> None:
    root.rmdir()
    assert client.get("/readyz").status_code == 503
    root.mkdir()
    assert client.get("/readyz").status_code == 200


def test_readyz_with_a_file_in_the_place_of_the_folder(client: Client, location: Location, root: Path) -> None:
    root.rmdir()
    root.touch()
    assert client.get("/readyz").json()["location"] == "failed"


def test_readyz_with_a_folder_that_cannot_be_looked_at(client: Client, location: Location) -> None:
    Location.objects.update(options={"location": "/" + "x" * 300})  # longer than any file system takes
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["location"]) == (503, "failed")


def test_readyz_with_credentials_that_no_key_decrypts(client: Client, location: Location) -> None:
    Location.objects.update(encrypted_credentials="garbage")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["location"]) == (503, "failed")


def test_readyz_does_not_wait_for_locations_of_other_names(client: Client, location: Location) -> None:
    Location.objects.create(name="archive", backend="FILESYSTEM", options={"location": "/no/such/folder"})
    assert client.get("/readyz").status_code == 200


def test_readyz_wants_the_default_location_of_each_backend(client: Client, location: Location) -> None:
    Location.objects.create(name="default", backend="NO-LONGER-CONFIGURED", options={})
    assert client.get("/readyz").json()["location"] == "failed"


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_need_no_token_and_start_no_session(client: Client, location: Location, path: str) -> None:
    answer = client.get(path)
    assert answer["Content-Type"] == "application/json"
    assert not answer.cookies


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_are_answered_whatever_the_host(client: Client, location: Location, path: str) -> None:
    assert client.get("/admin/login/", headers={"Host": "10.1.2.3:8000"}).status_code == 400
    assert client.get(path, headers={"Host": "10.1.2.3:8000"}).status_code == 200
