"""What is switched off is not even loaded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings as project_settings
from django.core.checks import CheckMessage
from pytest_django import Settings

from casproject.checks import check_collectors
from common import tracing

LOADED = """
import sys
import {module}
{begin}
print([name for name in sys.modules if name.partition(".")[0] in {{"opentelemetry", "sentry_sdk"}}])
"""


@pytest.mark.parametrize(
    ("module", "begin"),
    [
        ("casproject.wsgi", ""),
        (
            "django",
            "django.setup(); from casproject import celery; celery.share_metrics()",
        ),
    ],
    ids=["web", "worker"],
)
def test_no_collector_no_import(module: str, begin: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(module=module, begin=begin)],
        cwd=Path(project_settings.BASE_DIR),
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "casproject.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_span_that_nobody_records_costs_nothing_and_asks_for_nothing() -> None:
    def fail() -> dict[str, str]:
        raise AssertionError("attributes are asked for")

    with tracing.span("publish", fail) as note:
        note("anything", 1)


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "", None),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318", None),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "casproject.E020"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://collector:4317", "casproject.E020"),
        ("SENTRY_DSN", "https://0123456789abcdef@sentry.example.com/42", None),
        ("SENTRY_DSN", "https://sentry.example.com/42", "casproject.E021"),
    ],
)
def test_addresses_are_checked(settings: Settings, name: str, value: str, found: str | None) -> None:
    setattr(settings, name, value)
    messages: list[CheckMessage] = check_collectors()
    assert [message.id for message in messages] == ([found] if found else [])
    assert "0123456789abcdef" not in str(messages)
