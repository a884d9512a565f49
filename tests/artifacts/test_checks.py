"""System checks of keys, storage classes, and of what the whole project stands on."""

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.core.checks.registry import registry
from pytest_django import Settings

from artifacts.checks import check_credential_keys, check_storage_backends, check_token_keys
from casproject.checks import check_data_dir, check_secret_key


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


@pytest.mark.parametrize("key", [ec.SECP256R1(), ec.SECP384R1()], ids=lambda curve: str(curve.name))
def test_key_of_another_curve_is_named(settings: Settings, tmp_path: Path, key: ec.EllipticCurve) -> None:
    public = ec.generate_private_key(key).public_key()
    (tmp_path / "short.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    settings.CAS_TOKEN_KEYS = [str(tmp_path / "short.pem")]
    (message,) = check_token_keys()
    assert message.id == "artifacts.E002"
    assert "short.pem holds no P-521 public key" in message.msg


def test_private_key_in_the_place_of_the_public_one_is_named_and_not_shown(settings: Settings) -> None:
    private = settings.CAS_DATA_DIR / "keys" / "token-private.pem"
    settings.CAS_TOKEN_KEYS = [str(private)]
    (message,) = check_token_keys()
    assert message.id == "artifacts.E002"
    assert private.read_text().splitlines()[1] not in str(message)


def test_folder_in_the_place_of_a_key_is_named(settings: Settings, tmp_path: Path) -> None:
    settings.CAS_TOKEN_KEYS = [str(tmp_path)]
    assert [message.id for message in check_token_keys()] == ["artifacts.E002"]


@pytest.mark.parametrize("key", ["", "not base64!", "c2hvcnQ=", "é" * 44])
def test_credential_key_of_any_wrong_form_is_told(settings: Settings, key: str) -> None:
    settings.CAS_CREDENTIAL_KEYS = [key]
    assert [message.id for message in check_credential_keys()] == ["artifacts.E003"]


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


def test_storage_class_whose_library_is_missing_is_named(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some of django-storages raise ImproperlyConfigured then, and not ImportError."""
    (tmp_path / "no_library.py").write_text(
        "from django.core.exceptions import ImproperlyConfigured\nraise ImproperlyConfigured('no library')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings.CAS_STORAGE_BACKENDS = {"VENDOR": "no_library.Storage"}
    (message,) = check_storage_backends()
    assert message.id == "artifacts.E004"
    assert "VENDOR: no library" in message.msg


def test_right_settings_pass(settings: Settings) -> None:
    settings.CAS_STORAGE_BACKENDS = {"MEMORY": "django.core.files.storage.InMemoryStorage"}
    for check in (check_token_keys, check_credential_keys, check_storage_backends, check_data_dir, check_secret_key):
        assert check() == []


def test_missing_secret_key_stops_the_start(settings: Settings) -> None:
    settings.SECRET_KEY = ""
    (message,) = check_secret_key()
    assert (message.id, message.is_serious()) == ("casproject.E001", True)
    assert "make_keys" in (message.hint or "")


@pytest.mark.parametrize("kind", ["missing", "file", "program"])
def test_data_dir_that_is_no_folder_stops_the_start(settings: Settings, tmp_path: Path, kind: str) -> None:
    settings.CAS_DATA_DIR = tmp_path / kind
    if kind != "missing":
        settings.CAS_DATA_DIR.touch(mode=0o755 if kind == "program" else 0o644)
    (message,) = check_data_dir()
    assert (message.id, message.is_serious()) == ("casproject.E002", True)
    assert str(tmp_path / kind) in message.msg


def test_data_dir_that_cannot_be_written_to_stops_the_start(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.CAS_DATA_DIR = tmp_path
    # Root may write to what others may not.
    monkeypatch.setattr("os.access", lambda path, mode: path == tmp_path and not mode & os.W_OK)
    assert [message.id for message in check_data_dir()] == ["casproject.E002"]


def test_every_check_is_registered() -> None:
    registered = {f"{check.__module__}.{getattr(check, '__name__', '')}" for check in registry.get_checks()}
    assert registered >= {
        "artifacts.checks.check_token_keys",
        "artifacts.checks.check_credential_keys",
        "artifacts.checks.check_storage_backends",
        "casproject.checks.check_secret_key",
        "casproject.checks.check_data_dir",
    }
