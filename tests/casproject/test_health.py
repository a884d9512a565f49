"""Liveness and readiness."""

from pathlib import Path

import pytest
from django.db import OperationalError, connection
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
    assert (answer.status_code, answer.json()["database"]) == (503, "failed")
    assert "db.internal" not in answer.content.decode()
