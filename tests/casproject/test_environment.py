"""What the environment makes of the settings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings as project_settings


def settings_of(*names: str, **environment: str) -> list[object]:
    script = (
        "import django, json; django.setup(); from django.conf import settings as s;"
        f"print(json.dumps([getattr(s, name) for name in {names!r}], default=str))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=project_settings.BASE_DIR,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "casproject.settings", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    values: list[object] = json.loads(done.stdout)
    return values


@pytest.mark.parametrize(("nats", "is_swept"), [("", False), ("nats://127.0.0.1:1", True)])
def test_outbox_is_swept_only_where_nats_is_configured(nats: str, is_swept: bool) -> None:
    (schedule,) = settings_of("CELERY_BEAT_SCHEDULE", NATS_URL=nats)
    assert isinstance(schedule, dict)
    assert ("audit.tasks.publish_pending" in [entry["task"] for entry in schedule.values()]) is is_swept


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
