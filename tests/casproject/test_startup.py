"""Every process refuses to start when configured wrongly."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings as project_settings
from pytest_django import Settings

from casproject.startup import refuse_wrong_settings
from tests.servers import BIN, free_port

PROJECT = Path(project_settings.BASE_DIR)


def test_errors_stop_the_start_with_their_messages(settings: Settings) -> None:
    settings.NATS_URL = "http://somewhere"
    settings.CAS_TOKEN_KEYS = []
    with pytest.raises(SystemExit) as caught:
        refuse_wrong_settings()
    message = str(caught.value.code)
    assert message.startswith("Refusing to start:")
    assert "audit.E001" in message
    assert "artifacts.E001" in message


def test_warnings_do_not(settings: Settings) -> None:
    settings.CAS_CREDENTIAL_KEYS = []
    refuse_wrong_settings()


def test_silenced_errors_do_not(settings: Settings) -> None:
    settings.NATS_URL = "http://somewhere"
    settings.SILENCED_SYSTEM_CHECKS = ["audit.E001"]
    refuse_wrong_settings()


@pytest.mark.parametrize(
    "command",
    [
        ["python", "-m", "casproject.serve", "--interface", "wsgi", "--workers", "2", "casproject.wsgi:application"],
        ["granian", "--interface", "wsgi", "--port", str(free_port()), "casproject.wsgi:application"],
        ["celery", "-A", "casproject", "worker", "--pool", "solo"],
        ["celery", "-A", "casproject", "beat", "--pidfile="],
    ],
    ids=["web", "another web server", "worker", "beat"],
)
def test_process_refuses_to_start(command: list[str]) -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "casproject.settings", "NATS_URL": "http://somewhere"}
    done = subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert (done.stderr + done.stdout).count("Refusing to start:") == 1
    assert "NATS_URL: address 1" in done.stderr + done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ["python", "-m", "casproject.serve", "--interface", "wsgi", "casproject.wsgi:application"],
        ["celery", "-A", "casproject", "worker", "--pool", "solo"],
        ["celery", "-A", "casproject", "beat", "--pidfile="],
        ["python", "manage.py", "migrate"],
    ],
    ids=["web", "worker", "beat", "manage.py"],
)
def test_what_cannot_be_read_stops_the_start_without_a_traceback(command: list[str]) -> None:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "casproject.settings",
        "CAS_SEAL_SECONDS": "soon",
        "DATABASE_URL": "",
    }
    done = subprocess.run(
        [BIN / command[0], *command[1:]],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "Refusing to start:\n" in done.stderr
    assert "DATABASE_URL is empty" in done.stderr
    assert "CAS_SEAL_SECONDS cannot be read" in done.stderr
    assert "Traceback" not in done.stderr


def test_checks_are_silenced_by_the_environment() -> None:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "casproject.settings",
        "NATS_URL": "http://somewhere",
        "CAS_SILENCED_CHECKS": "audit.E001, casproject.W002",
    }
    command = [sys.executable, "manage.py", "check"]
    subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, check=True)


def test_warnings_are_logged(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    settings.CAS_CREDENTIAL_KEYS = []
    refuse_wrong_settings()
    assert "artifacts.W001" in caplog.text


def test_manage_py_refuses_too() -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "casproject.settings", "NATS_URL": "http://somewhere"}
    command = [sys.executable, "manage.py", "migrate", "--plan"]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "NATS_URL: address 1" in done.stderr


@pytest.mark.parametrize("variable", ["CAS_TOKEN_KEYS", "CAS_SECRET_KEY"])
def test_wsgi_module_refuses_to_be_imported(variable: str) -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "casproject.settings", variable: ""}
    done = subprocess.run(
        [sys.executable, "-c", "import casproject.wsgi"],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "Refusing to start:" in done.stderr
    assert variable in done.stderr
    assert "Traceback" not in done.stderr


def test_every_error_is_told_at_once(settings: Settings) -> None:
    settings.NATS_URL = "http://user:hunter2@somewhere"
    settings.CAS_SWEEP_SECONDS = 0
    with pytest.raises(SystemExit) as caught:
        refuse_wrong_settings()
    assert "audit.E001" in str(caught.value.code)
    assert "casproject.E004" in str(caught.value.code)
    assert "hunter2" not in str(caught.value.code)


IMPORTED = """
import sys, django
django.setup()
import casproject.urls
print("psycopg" in sys.modules)
"""


@pytest.mark.parametrize(("url", "is_needed"), [("sqlite:///cas.sqlite3", False), ("postgres://somewhere/cas", True)])
def test_process_over_sqlite_does_without_the_driver_of_postgresql(url: str, is_needed: bool) -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "casproject.settings", "DATABASE_URL": url}
    command = [sys.executable, "-c", IMPORTED]
    assert subprocess.check_output(command, cwd=PROJECT, env=environment, text=True) == f"{is_needed}\n"
