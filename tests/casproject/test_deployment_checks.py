"""What is right on a laptop and wrong elsewhere is told before the start."""

from typing import Any

import pytest
from django.core import checks
from django.db import connection
from pytest_django import Settings

from casproject.deployment_checks import is_here


def found(settings: Settings, values: dict[str, Any]) -> list[str]:
    for name, value in values.items():
        setattr(settings, name, value)
    messages = checks.run_checks()
    assert all(message.hint for message in messages)
    return [message.id or "" for message in messages]


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        ({"CELERY_BROKER_URL": "memory://"}, ["casproject.E006"]),
        ({"CELERY_BROKER_URL": "redis"}, ["casproject.E005"]),
        ({"CELERY_BROKER_URL": "redid://127.0.0.1"}, ["casproject.E005"]),
        ({"CELERY_BROKER_URL": "rediss://127.0.0.1:6379/0"}, []),
        ({"CELERY_BROKER_URL": "amqp://cas:password@127.0.0.1:5672//"}, []),
        ({"SECRET_KEY": "0123456789abcdef"}, ["casproject.E007"]),
        ({"SECRET_KEY": "ab" * 40}, ["casproject.E007"]),
        ({"SECRET_KEY": "django-insecure-8f3k2j5h6g7d8s9a0q1w2e3r4t5y6u7i8o9p0"}, ["casproject.E007"]),
        ({"DEBUG": True}, []),
        ({"DEBUG": True, "CAS_HOST": "10.0.0.1"}, ["casproject.E008"]),
        ({"DEBUG": True, "ALLOWED_HOSTS": ["cas.example.com"]}, ["casproject.E008"]),
        ({"DEBUG": True, "CAS_BEHIND_PROXY": True}, ["casproject.E008"]),
        ({"ALLOWED_HOSTS": []}, ["casproject.E009"]),
        ({"ALLOWED_HOSTS": ["*"]}, ["casproject.W005"]),
        ({"CAS_BEHIND_PROXY": True, "SESSION_COOKIE_SECURE": False}, ["casproject.W006"]),
        ({"CAS_DRAIN_SECONDS": 30.0, "CAS_GRACE_SECONDS": 20}, ["casproject.W007"]),
        ({"CAS_DRAIN_SECONDS": 20.0, "CAS_GRACE_SECONDS": 20}, []),
    ],
)
def test_each_way_to_get_it_wrong(settings: Settings, values: dict[str, Any], ids: list[str]) -> None:
    settings.ALLOWED_HOSTS = ["localhost"]
    assert found(settings, values) == ids


@pytest.mark.parametrize(
    ("vendor", "host", "broker", "ids"),
    [
        ("postgresql", "db.example.com", "embedded://", ["casproject.W002"]),
        ("postgresql", "db.example.com", "redis://broker.example.com", []),
        ("postgresql", "127.0.0.1", "embedded://", []),
        ("postgresql", "/run/postgresql", "embedded://", []),
        ("sqlite", "", "embedded://", []),
        ("sqlite", "", "redis://[::1]:6379", []),
        ("sqlite", "", "amqp://cas:password@broker.example.com//", ["casproject.W003"]),
    ],
)
def test_database_and_broker_are_of_one_mind_about_the_number_of_machines(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, vendor: str, host: str, broker: str, ids: list[str]
) -> None:
    monkeypatch.setattr(connection, "vendor", vendor, raising=False)
    monkeypatch.setitem(connection.settings_dict, "HOST", host)
    assert found(settings, {"CELERY_BROKER_URL": broker}) == ids


def test_development_secrets_are_for_this_machine_alone(settings: Settings) -> None:
    file = settings.CAS_DATA_DIR / "development.env"
    file.touch()
    settings.ALLOWED_HOSTS = ["localhost"]
    try:
        assert found(settings, {}) == []
        assert found(settings, {"ALLOWED_HOSTS": ["cas.example.com"]}) == ["casproject.W004"]
    finally:
        file.unlink()


def test_secret_is_not_shown(settings: Settings) -> None:
    settings.SECRET_KEY = "hunter2"
    assert "hunter2" not in str(checks.run_checks())


@pytest.mark.parametrize("host", ["", "localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]", "/run/postgresql"])
def test_this_machine(host: str) -> None:
    assert is_here(host)


@pytest.mark.parametrize("host", ["10.0.0.1", "::", "example.com", "[2001:db8::1]", "localhost.example.com"])
def test_others(host: str) -> None:
    assert not is_here(host)
