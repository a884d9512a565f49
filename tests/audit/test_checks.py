"""System checks of publishing."""

from pathlib import Path

import pytest
from django.core.checks import run_checks
from pytest_django import Settings

from audit.checks import (
    check_checkpoint_key,
    check_mirror,
    check_nats_url,
)


@pytest.mark.parametrize(
    "url",
    ["", "nats://localhost:4222", "tls://nats.example.com", "nats://user:pass@a:4222,nats://b:4222", "nats://token@a"],
)
def test_nats_addresses_pass(url: str, settings: Settings) -> None:
    settings.NATS_URL = url
    assert check_nats_url() == []


@pytest.mark.parametrize(
    "url",
    ["localhost:4222", "http://localhost", "nats://", "nats://a,", "nats://a:port", "nats://a:0", "nats://a:70000"],
)
def test_what_is_no_nats_address_is_refused(url: str, settings: Settings) -> None:
    settings.NATS_URL = url
    assert [message.id for message in check_nats_url()] == ["audit.E001"]


def test_wrong_address_is_named_by_its_place_and_never_shown(settings: Settings) -> None:
    settings.NATS_URL = "nats://good:4222,http://user:hunter2@bad"
    (message,) = check_nats_url()
    assert "address 2" in message.msg
    assert "hunter2" not in str(message)


@pytest.mark.parametrize("url", ["ws://nats.example.com", "wss://nats.example.com"])
def test_address_that_the_client_cannot_speak_to_is_refused(url: str, settings: Settings) -> None:
    settings.NATS_URL = url
    assert [message.id for message in check_nats_url()] == ["audit.E001"]


@pytest.mark.parametrize("url", ["nats://hunter2@:4222", "nats://user:hunter2@a:port", "hunter2", "nats://[hunter2"])
def test_no_wrong_address_shows_its_password(url: str, settings: Settings) -> None:
    settings.NATS_URL = url
    (message,) = check_nats_url()
    assert "hunter2" not in str(message)


def test_checks_are_run_with_the_others(settings: Settings) -> None:
    settings.NATS_URL = "http://somewhere"
    settings.CAS_SWEEP_SECONDS = 0
    assert {"audit.E001", "casproject.E004"} <= {message.id for message in run_checks()}


def test_key_of_checkpoints_must_be_one(tmp_path: Path, settings: Settings) -> None:
    assert check_checkpoint_key() == []
    (tmp_path / "none.pem").write_text("secret")
    keys = {
        tmp_path / "missing.pem": "cannot be read",
        tmp_path: "cannot be read",
        tmp_path / "none.pem": "no private key",
        settings.CAS_DATA_DIR / "keys" / "token-public.pem": "no private key",
        settings.CAS_DATA_DIR / "keys" / "token-private.pem": "not Ed25519",
    }
    for path, problem in keys.items():
        settings.CAS_CHECKPOINT_KEY = str(path)
        (message,) = check_checkpoint_key()
        assert (message.id, problem in message.msg) == ("audit.E004", True)
        assert "secret" not in str(message)


def test_public_keys_of_earlier_checkpoint_keys_must_be_some(tmp_path: Path, settings: Settings) -> None:
    settings.CAS_CHECKPOINT_PUBLIC_KEYS = [str(settings.CAS_DATA_DIR / "keys" / "token-public.pem")]
    (message,) = check_checkpoint_key()
    assert (message.id, "not Ed25519" in message.msg) == ("audit.E005", True)


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        ({}, []),
        ({"CAS_MIRROR": True}, []),
        ({"CAS_MIRROR": True, "NATS_URL": ""}, ["audit.E020"]),
        ({"CAS_MIRROR": True, "CAS_MIRROR_CONSUMER": "with.dot"}, ["audit.E021"]),
        ({"CAS_MIRROR": False, "NATS_URL": "", "CAS_MIRROR_CONSUMER": ""}, []),
    ],
)
def test_mirror_needs_nats_and_a_name(values: dict[str, object], ids: list[str], settings: Settings) -> None:
    settings.NATS_URL = "nats://somewhere"
    for name, value in values.items():
        setattr(settings, name, value)
    assert [message.id for message in check_mirror()] == ids
