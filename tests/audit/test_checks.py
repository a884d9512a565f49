"""System checks of publishing."""

import importlib.util

import pytest
from django.core.checks import run_checks
from pytest_django import Settings

from audit.checks import check_nats_url, check_sweep


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


@pytest.mark.parametrize(("seconds", "ids"), [(0.5, []), (0, ["audit.E002"]), (-1, ["audit.E002"])])
def test_sweep_needs_an_interval(seconds: float, ids: list[str], settings: Settings) -> None:
    settings.CAS_SWEEP_SECONDS = seconds
    assert [message.id for message in check_sweep()] == ids


@pytest.mark.skipif(importlib.util.find_spec("aiohttp") is not None, reason="NATS over WebSocket works with aiohttp")
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
    assert {"audit.E001", "audit.E002"} <= {message.id for message in run_checks()}
