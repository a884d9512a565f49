"""System checks of keys and storage classes."""

from pathlib import Path

import pytest
from pytest_django import Settings

from artifacts.checks import check_credential_keys, check_storage_backends, check_token_keys


def test_missing_token_keys_stop_the_start(settings: Settings) -> None:
    settings.CAS_TOKEN_KEYS = []
    assert [message.id for message in check_token_keys()] == ["artifacts.E001"]


def test_each_wrong_token_key_is_named(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    settings.CAS_TOKEN_KEYS = [*settings.CAS_TOKEN_KEYS, str(tmp_path / "empty.pem"), "/no/such/key.pem"]
    messages = check_token_keys()
    assert [message.id for message in messages] == ["artifacts.E002", "artifacts.E002"]
    assert "empty.pem" in messages[0].msg
    assert "/no/such/key.pem" in messages[1].msg


def test_wrong_credential_key_is_named_by_its_place_and_never_shown(settings: Settings) -> None:
    settings.CAS_CREDENTIAL_KEYS = [*settings.CAS_CREDENTIAL_KEYS, "hunter2"]
    (message,) = check_credential_keys()
    assert message.id == "artifacts.E003"
    assert "key 2" in message.msg
    assert "hunter2" not in str(message)


def test_missing_credential_keys_are_a_warning(settings: Settings) -> None:
    settings.CAS_CREDENTIAL_KEYS = []
    (message,) = check_credential_keys()
    assert message.id == "artifacts.W001"
    assert not message.is_serious()


@pytest.mark.parametrize("path", ["no.such.Class", "django.core.files.storage.NoSuchStorage", "Storage"])
def test_storage_class_that_cannot_be_had_is_named(settings: Settings, path: str) -> None:
    settings.CAS_STORAGE_BACKENDS = {"GOOD": "django.core.files.storage.InMemoryStorage", "BAD": path}
    (message,) = check_storage_backends()
    assert message.id == "artifacts.E004"
    assert "BAD" in message.msg
