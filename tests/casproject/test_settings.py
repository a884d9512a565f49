"""What the environment says wrongly is refused by name, and what it may say is in the README."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core import checks
from pytest_django import Settings

PROJECT = Path(settings.BASE_DIR)


def test_readme_lists_each_variable_that_is_read_and_no_other() -> None:
    read = set(re.findall(r'env\.\w+\("(\w+)"', (PROJECT / "casproject" / "settings.py").read_text()))
    read |= set(re.findall(r"\$\{(\w+):-", (PROJECT / "Procfile").read_text()))
    table = (PROJECT / "README.md").read_text().split("## Settings")[1].split("## ")[0]
    listed = {name for row in table.splitlines() if row.startswith("| `") for name in re.findall(r"`(\w+)`", cell(row))}
    assert listed == read


def cell(row: str) -> str:
    return row.split("|")[1]


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("CAS_MAX_UPLOAD_BYTES", "many", "CAS_MAX_UPLOAD_BYTES cannot be read"),
        ("CAS_SCRUB_BYTES_PER_SECOND", "50MB", "CAS_SCRUB_BYTES_PER_SECOND cannot be read"),
        ("CAS_SCRUB_BYTES_PER_SECOND", "-1", "CAS_SCRUB_BYTES_PER_SECOND must not be negative"),
        ("CAS_SCRUB_EVERY_DAYS", "0", "CAS_SCRUB_EVERY_DAYS must be more than 0"),
        ("CAS_SCRUB_EVERY_DAYS", "99999999999", "CAS_SCRUB_EVERY_DAYS must be more than 0"),
        ("CAS_UPLOAD_EXPIRES_HOURS", "-1", "CAS_UPLOAD_EXPIRES_HOURS must be more than 0"),
        ("CAS_SWEEP_SECONDS", "soon", "CAS_SWEEP_SECONDS cannot be read"),
        ("CAS_SWEEP_SECONDS", "0", "CAS_SWEEP_SECONDS must be more than 0"),
        ("CAS_SEAL_SECONDS", "0", "CAS_SEAL_SECONDS must be more than 0"),
        ("CAS_CHECKPOINT_SECONDS", "-1", "CAS_CHECKPOINT_SECONDS must be more than 0"),
        ("CAS_CHECKPOINT_KEY", "/no/such/file", "/no/such/file cannot be read"),
        ("AUDIT_RETENTION_DAYS", "-1", "AUDIT_RETENTION_DAYS must be 0 or more"),
        ("AUDIT_RETENTION_DAYS", "1000000", "AUDIT_RETENTION_DAYS must be 0 or more"),
        ("CAS_UPLOAD_EXPIRES_HOURS", "0", "CAS_UPLOAD_EXPIRES_HOURS must be more than 0"),
        ("CAS_UPLOAD_EXPIRES_HOURS", "999999", "CAS_UPLOAD_EXPIRES_HOURS must be more than 0"),
        ("CAS_MAX_TRANSFERS", "64", "CAS_MAX_TRANSFERS must be at least 1 and less than CAS_WEB_THREADS (64)"),
        ("CAS_MAX_TRANSFERS", "0", "CAS_MAX_TRANSFERS must be at least 1"),
        ("CAS_DRAIN_SECONDS", "-1", "CAS_DRAIN_SECONDS must be 0 or more"),
        ("CAS_WEB_THREADS", "48", "less than CAS_WEB_THREADS (48)"),
        ("DATABASE_URL", "mydatabase", "DATABASE_URL is not a database URL"),
        ("CAS_LOG_LEVEL", "loud", "CAS_LOG_LEVEL must be DEBUG, INFO"),
        ("CAS_SECRET_KEY", "", "CAS_SECRET_KEY is empty"),
        ("CAS_TOKEN_KEYS", "/no/such/file", "/no/such/file cannot be read"),
        ("CAS_CREDENTIAL_KEYS", "short", "CAS_CREDENTIAL_KEYS: key 1"),
        ("CAS_STORAGE_BACKENDS", "FTP=no.such.Class", "CAS_STORAGE_BACKENDS: FTP"),
        ("CAS_DATA_DIR", "/no/such/folder", "CAS_DATA_DIR: /no/such/folder"),
        ("NATS_URL", "http://somewhere", "NATS_URL: address 1"),
    ],
)
def test_wrong_value_is_refused_by_name(variable: str, value: str, complaint: str) -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "casproject.settings", variable: value}
    command = [sys.executable, "manage.py", "check"]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert complaint in done.stderr


def test_value_that_may_be_a_secret_is_not_shown() -> None:
    secret = "postgres://user:hunter2@host:notaport/name"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "casproject.settings", "DATABASE_URL": secret}
    command = [sys.executable, "-c", "import django; django.setup()"]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "DATABASE_URL is not a database URL" in done.stderr.splitlines()[-1]
    assert "hunter2" not in done.stderr


def test_tests_run_with_settings_that_pass_all_checks(settings: Settings) -> None:
    assert checks.run_checks() == []
