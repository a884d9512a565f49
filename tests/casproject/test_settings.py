"""What the environment says wrongly is refused by name, and what it may say is in docs/configuration.md."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from casproject.environment import Environment
from casproject.management.commands import settings_table
from casproject.variables import env

PROJECT = Path(settings.BASE_DIR)

Case = tuple[str, str, str]  # a variable, its value, and what is said of it


def test_page_of_settings_is_the_one_that_the_code_makes() -> None:
    """`manage.py settings_table > docs/configuration.md` makes it."""
    assert (PROJECT / "docs" / "configuration.md").read_text() == settings_table.page()


def test_every_variable_says_what_it_means_and_where_it_belongs() -> None:
    assert [name for name, variable in env.variables.items() if not variable.help or not variable.section] == []


def test_each_variable_of_the_procfile_and_the_readme_is_declared() -> None:
    used = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", (PROJECT / "Procfile").read_text()))
    assert used == {name: str(getattr(settings, name)) for name in used}
    table = (PROJECT / "README.md").read_text().split("## Settings")[1].split("## ")[0]
    assert set(re.findall(r"`([A-Z]+_[A-Z_]+)`", table)) < set(env.variables)


# One start tells all of these.
UNREADABLE = [
    ("CAS_MAX_UPLOAD_BYTES", "many", "CAS_MAX_UPLOAD_BYTES cannot be read"),
    ("CAS_SCRUB_BYTES_PER_SECOND", "50MB", "CAS_SCRUB_BYTES_PER_SECOND cannot be read"),
    ("CAS_SWEEP_SECONDS", "soon", "CAS_SWEEP_SECONDS cannot be read"),
    ("CAS_SEAL_SECONDS", "nan", "CAS_SEAL_SECONDS cannot be read"),
    ("CAS_SEAL_SECONDS", "1e300", "CAS_SEAL_SECONDS cannot be read"),
    ("CAS_MAX_UPLOAD_BYTES", "9" * 400, "CAS_MAX_UPLOAD_BYTES cannot be read"),
    ("CAS_PORT", "tcp://10.0.0.1:80", "Kubernetes sets it"),
    ("CAS_DEBUG", "maybe", "CAS_DEBUG cannot be read: it must be a true or false"),
]
# And one all of these.
WRONG = [
    ("CAS_SCRUB_BYTES_PER_SECOND", "-1", "CAS_SCRUB_BYTES_PER_SECOND must be 0 or more"),
    ("CAS_SCRUB_EVERY_DAYS", "0", "CAS_SCRUB_EVERY_DAYS must be more than 0"),
    ("CAS_SCRUB_EVERY_DAYS", "99999", "CAS_SCRUB_EVERY_DAYS must be more than 0, and at most 36525, not 99999"),
    ("CAS_UPLOAD_EXPIRES_HOURS", "-1", "CAS_UPLOAD_EXPIRES_HOURS must be 0.02 or more"),
    ("CAS_SWEEP_SECONDS", "0.0000001", "CAS_SWEEP_SECONDS must be 0.1 or more"),
    ("CAS_SEAL_SECONDS", "0", "CAS_SEAL_SECONDS must be 0.1 or more"),
    ("CAS_SEAL_SECONDS", "301", "CAS_SEAL_SECONDS must be 0.1 or more, and at most 300, not 301"),
    ("CAS_CHECKPOINT_SECONDS", "-1", "CAS_CHECKPOINT_SECONDS must be 1 or more"),
    ("CAS_CHECKPOINT_SECONDS", "3601", "CAS_CHECKPOINT_SECONDS must be 1 or more, and at most 3600, not 3601"),
    ("CAS_CHECKPOINT_KEY", "/no/such/key", "/no/such/key cannot be read"),
    ("AUDIT_RETENTION_DAYS", "-1", "AUDIT_RETENTION_DAYS must be 0 or more"),
    ("AUDIT_RETENTION_DAYS", "1000000", "AUDIT_RETENTION_DAYS must be 0 or more"),
    ("CAS_UPLOAD_EXPIRES_HOURS", "0.0001", "CAS_UPLOAD_EXPIRES_HOURS must be 0.02 or more"),
    ("CAS_UPLOAD_EXPIRES_HOURS", "999999", "and at most 876600, not 999999"),
    ("CAS_MAX_TRANSFERS", "0", "CAS_MAX_TRANSFERS must be 1 or more, and at most 10000, not 0"),
    ("CAS_MAX_UPLOAD_BYTES", "-1", "CAS_MAX_UPLOAD_BYTES must be 0 or more"),
    ("CAS_GRACE_SECONDS", "1801", "CAS_GRACE_SECONDS must be 1 or more, and at most 1800, not 1801"),
    ("CAS_SESSION_HOURS", "0.0001", "CAS_SESSION_HOURS must be 0.02 or more"),
    ("CAS_SESSION_HOURS", "100000000", "and at most 876600, not 100000000"),
    ("CAS_HSTS_SECONDS", "9999999999", "CAS_HSTS_SECONDS must be 0 or more, and at most 3155760000"),
    ("CAS_SCRUB_BYTES_PER_SECOND", f"{10**13}", "CAS_SCRUB_BYTES_PER_SECOND must be 0 or more, and at most"),
    ("CAS_MAX_UPLOAD_BYTES", f"{10**19}", "CAS_MAX_UPLOAD_BYTES must be 0 or more, and at most"),
    ("CAS_WEB_WORKERS", "100000", "CAS_WEB_WORKERS must be 1 or more, and at most 1024"),
    ("CAS_WEB_THREADS", "100000", "CAS_WEB_THREADS must be 2 or more, and at most 10000"),
    ("CAS_DRAIN_SECONDS", "-1", "CAS_DRAIN_SECONDS must be 0 or more"),
    ("CAS_SECRET_KEY", "", "CAS_SECRET_KEY is empty"),
    ("CAS_TOKEN_KEYS", "/no/such/file", "/no/such/file cannot be read"),
    ("CAS_CREDENTIAL_KEYS", "short", "CAS_CREDENTIAL_KEYS: key 1"),
    ("CAS_STORAGE_BACKENDS", "FTP=no.such.Class", "CAS_STORAGE_BACKENDS: FTP"),
    ("CAS_DATA_DIR", "/no/such/folder", "CAS_DATA_DIR: /no/such/folder"),
    ("NATS_URL", "http://somewhere", "NATS_URL: address 1"),
]
# Each of these is refused before others are looked at, or is wrong beside another's value.
FIRST = [
    ("CAS_MAX_TRANSFERS", "64", "CAS_MAX_TRANSFERS must be at least 1 and less than CAS_WEB_THREADS (64)"),
    ("DATABASE_URL", "", "DATABASE_URL is empty"),
    ("DATABASE_URL", "mysql://user@host/name", "DATABASE_URL is not a database URL"),
    ("CELERY_BROKER_URL", "", "CELERY_BROKER_URL is empty"),
    ("CAS_LOG_FORMAT", "xml", "CAS_LOG_FORMAT must be one of plain, json"),
    ("CAS_WEB_THREADS", "48", "less than CAS_WEB_THREADS (48)"),
    ("DATABASE_URL", "mydatabase", "DATABASE_URL is not a database URL"),
    ("CAS_LOG_LEVEL", "loud", "CAS_LOG_LEVEL must be one of DEBUG, INFO"),
]


def rounds(cases: list[Case]) -> Iterator[list[Case]]:
    """As few starts as tell of all: a start has one value for a variable."""
    left = cases
    while left:
        first = {case[0]: case for case in reversed(left)}
        yield list(first.values())
        left = [case for case in left if case not in first.values()]


def refused(*arguments: str, **variables: str) -> str:
    """What Python says on standard error, which refuses these variables."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "casproject.settings", **variables}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    return done.stderr


@pytest.mark.parametrize("cases", [*rounds(UNREADABLE), *rounds(WRONG), *([case] for case in FIRST)])
def test_wrong_value_is_refused_by_name(cases: list[Case]) -> None:
    told = refused("manage.py", "check", **{variable: value for variable, value, _ in cases})
    assert [complaint for _, _, complaint in cases if complaint not in told] == []
    assert "Traceback" not in told


def test_value_that_may_be_a_secret_is_not_shown() -> None:
    secret = "postgres://user:hunter2@host:notaport/name"
    told = refused("-c", "import django; django.setup()", DATABASE_URL=secret)
    assert "DATABASE_URL is not a database URL" in told.splitlines()[-1]
    assert "hunter2" not in told


def test_database_whose_machine_is_gone_is_given_up_on_soon_unless_the_url_says_otherwise() -> None:
    url = "postgres://host/name?keepalives_idle=600"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "casproject.settings", "DATABASE_URL": url}
    program = (
        "from casproject.settings import DATABASES; import json; print(json.dumps(DATABASES['default']['OPTIONS']))"
    )
    options = json.loads(subprocess.check_output([sys.executable, "-c", program], cwd=PROJECT, env=environment))
    assert (options["connect_timeout"], options["tcp_user_timeout"], options["keepalives_count"]) == (5, 10_000, 3)
    assert int(options["keepalives_idle"]) == 600


def test_tests_run_with_settings_that_pass_all_checks(settings: Settings) -> None:
    assert checks.run_checks() == []


def test_all_that_cannot_be_read_is_told_at_once_without_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAS_A", "hunter2")
    monkeypatch.setenv("CAS_B", "hunter2")
    monkeypatch.setenv("CAS_C", "a=b,hunter2")
    read = Environment()
    assert read.int("CAS_A", default=3, help="") == 3
    assert read.bool("CAS_B", default=True, help="") is True
    assert read.dict("CAS_C", default={"a": "b"}, help="") == {"a": "b"}
    with pytest.raises(ImproperlyConfigured) as refused:
        read.refuse_unreadable()
    assert [line.split()[0] for line in str(refused.value).splitlines()] == ["CAS_A", "CAS_B", "CAS_C"]
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("CAS_MAX_UPLOAD_BYTE", "Is CAS_MAX_UPLOAD_BYTES meant?"),
        ("CAS_ZZZ", "docs/configuration.md has all that there are."),
        ("NATS_URLS", "Is NATS_URL meant?"),
        ("CELERY_BROKER_URI", "Is CELERY_BROKER_URL meant?"),
    ],
)
def test_misspelt_variable_is_warned_of(monkeypatch: pytest.MonkeyPatch, name: str, hint: str) -> None:
    monkeypatch.setenv(name, "1")
    (warning,) = checks.run_checks()
    assert (warning.id, warning.msg, warning.hint) == ("casproject.W001", f"{name} is set, and nothing reads it.", hint)


@pytest.mark.parametrize(
    "name",
    [
        "CAS_SERVICE_HOST",
        "CAS_PORT_8000_TCP",
        "CAS_PORT_8000_TCP_ADDR",
        "NATS_PORT",
        "NATS_HOME",
        "CAS_SERVICE_PORT_HTTP",
    ],
)
def test_what_kubernetes_and_other_programs_set_is_not(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    assert checks.run_checks() == []
