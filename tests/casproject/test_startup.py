"""What happens before the first request or task, and what the environment makes of the settings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings as project_settings
from pytest_django import Settings

from audit import journal
from casproject.startup import refuse_wrong_settings
from tests.factories import make_event

PROJECT = Path(project_settings.BASE_DIR)


def test_right_settings_are_let_through() -> None:
    refuse_wrong_settings()


def test_wrong_settings_are_all_named(settings: Settings) -> None:
    settings.CAS_TOKEN_KEYS = []
    settings.CAS_SWEEP_SECONDS = 0
    with pytest.raises(SystemExit) as refusal:
        refuse_wrong_settings()
    assert isinstance(refusal.value.code, str)  # which is printed, with a status of 1
    assert "Refusing to start" in refusal.value.code
    assert "CAS_TOKEN_KEYS is empty" in refusal.value.code
    assert "CAS_SWEEP_SECONDS must be more than 0" in refusal.value.code


def test_warning_refuses_nobody(settings: Settings) -> None:
    settings.CAS_CREDENTIAL_KEYS = []
    refuse_wrong_settings()


def test_silenced_error_refuses_nobody(settings: Settings) -> None:
    settings.CAS_TOKEN_KEYS = []
    settings.SILENCED_SYSTEM_CHECKS = ["artifacts.E001"]
    refuse_wrong_settings()


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run Python in the project with its own settings, over this test run's data folder."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "casproject.settings", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    "server",
    [
        ("-c", "import casproject.wsgi"),
        ("-m", "celery", "-A", "casproject", "worker", "--pool", "solo"),
        ("-m", "celery", "-A", "casproject", "beat"),
    ],
    ids=["web", "worker", "beat"],
)
def test_no_server_starts_with_wrong_settings(server: tuple[str, ...]) -> None:
    done = run(*server, CAS_TOKEN_KEYS="")
    assert done.returncode == 1
    assert "Refusing to start" in done.stderr
    assert "CAS_TOKEN_KEYS is empty" in done.stderr
    assert "Traceback" not in done.stderr


def test_web_server_gets_an_application() -> None:
    done = run("-c", "from casproject.wsgi import application; print(callable(application))")
    assert done.stdout == "True\n", done.stderr


def test_events_that_an_earlier_process_journaled_are_taken_in_without_waiting_for_another(
    tmp_path: Path, settings: Settings
) -> None:
    settings.CAS_DATA_DIR = tmp_path
    journal.append(make_event())
    environment = {"CAS_DATA_DIR": str(tmp_path), "DATABASE_URL": f"sqlite:///{tmp_path}/cas.sqlite3", "NATS_URL": ""}
    run("manage.py", "migrate", "--verbosity", "0", **environment).check_returncode()
    script = """
import casproject.wsgi, time
from audit.models import AuditEvent
deadline = time.monotonic() + 10
while not AuditEvent.objects.exists() and time.monotonic() < deadline:
    time.sleep(0.05)
print(AuditEvent.objects.count())
"""
    done = run("-c", script, **environment)
    assert done.stdout == "1\n", done.stderr


def settings_of(*names: str, **environment: str) -> list[object]:
    script = (
        "import django, json; django.setup(); from django.conf import settings as s;"
        f"print(json.dumps([getattr(s, name) for name in {names!r}], default=str))"
    )
    done = run("-c", script, **environment)
    assert done.returncode == 0, done.stderr
    values: list[object] = json.loads(done.stdout)
    return values


@pytest.mark.parametrize(("nats", "tasks"), [("", []), ("nats://127.0.0.1:1", ["audit.tasks.publish_pending"])])
def test_outbox_is_swept_only_where_nats_is_configured(nats: str, tasks: list[str]) -> None:
    (schedule,) = settings_of("CELERY_BEAT_SCHEDULE", NATS_URL=nats)
    assert isinstance(schedule, dict)
    assert [entry["task"] for entry in schedule.values()] == tasks


def test_broker_on_another_machine_is_given_up_on_soon() -> None:
    options, retry = settings_of(
        "CELERY_BROKER_TRANSPORT_OPTIONS", "CELERY_TASK_PUBLISH_RETRY", CELERY_BROKER_URL="redis://127.0.0.1:1/0"
    )
    assert options == {"socket_connect_timeout": 1, "socket_timeout": 1, "max_retries": 0}
    assert retry is False


def test_embedded_broker_lives_in_the_data_folder(tmp_path: Path) -> None:
    (options,) = settings_of(
        "CELERY_BROKER_TRANSPORT_OPTIONS", CAS_DATA_DIR=str(tmp_path), CELERY_BROKER_URL="embedded://"
    )
    assert isinstance(options, dict)
    assert options["data_folder_in"] == options["data_folder_out"] == str(tmp_path / "broker")


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("sqlite:////tmp/x.sqlite3", {"transaction_mode": "IMMEDIATE"}),
        ("postgres://user@host/name", {"connect_timeout": 5}),
        ("postgres://user@host/name?connect_timeout=9", {"connect_timeout": 9}),
    ],
)
def test_database_waits_for_locks_and_not_for_silence(url: str, options: dict[str, object]) -> None:
    (databases,) = settings_of("DATABASES", DATABASE_URL=url)
    assert isinstance(databases, dict)
    assert databases["default"]["OPTIONS"].items() >= options.items()
