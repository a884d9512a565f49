"""System checks of what the whole project stands on."""

import os
import re
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

from casproject.observability.addresses import parse_networks
from casproject.variables import env

SHORTEST_TOKEN = 16  # characters

_DSN = re.compile(r"https?://[^/@\s]+@[^/@\s]+/(\S+/)?\d+")


@register
def check_secret_key(**kwargs: Any) -> list[CheckMessage]:
    """E001: no secret key."""
    try:
        settings.SECRET_KEY  # noqa: B018  (Django refuses to hand out an empty one)
    except ImproperlyConfigured:
        hint = "`manage.py make_keys` makes one; keep it secret, and the same on every machine."
        return [Error("CAS_SECRET_KEY is empty.", hint=hint, id="casproject.E001")]
    return []


@register
def check_data_dir(**kwargs: Any) -> list[CheckMessage]:
    """E002: the data folder is missing or cannot be written to."""
    if settings.CAS_DATA_DIR.is_dir() and os.access(settings.CAS_DATA_DIR, os.W_OK | os.X_OK):
        return []
    message = f"CAS_DATA_DIR: {settings.CAS_DATA_DIR} is not a folder that can be written to."
    return [Error(message, hint="Create it, and give it to the user that this process runs as.", id="casproject.E002")]


@register
def check_collectors(**kwargs: Any) -> list[CheckMessage]:
    """E020, E021: where traces or errors are to be sent is no address."""
    found: list[CheckMessage] = []
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        value = getattr(settings, name)
        if value and not (value.startswith(("http://", "https://")) and urlsplit(value).hostname):
            hint = "OTLP over HTTP, such as http://collector:4318; gRPC (often port 4317) is not spoken."
            found.append(Error(f"{name} is not an address that begins with http.", hint=hint, id="casproject.E020"))
    if settings.SENTRY_DSN and not _DSN.fullmatch(settings.SENTRY_DSN):
        hint = "The form is https://key@host/project; Sentry shows it in a project's settings."
        found.append(Error("SENTRY_DSN is not a DSN.", hint=hint, id="casproject.E021"))
    return found


@register
def check_metrics(**kwargs: Any) -> list[CheckMessage]:
    """E010, E011: who may read the metrics cannot be read, or has a token that can be guessed."""
    found: list[CheckMessage] = []
    try:
        parse_networks(settings.CAS_METRICS_ALLOW)
    except ValueError as error:
        hint = "Networks or addresses separated by commas, such as 127.0.0.0/8,::1,10.1.2.3."
        found.append(Error(f"CAS_METRICS_ALLOW: {error}.", hint=hint, id="casproject.E010"))
    if settings.CAS_METRICS_TOKEN and len(settings.CAS_METRICS_TOKEN) < SHORTEST_TOKEN:
        message = f"CAS_METRICS_TOKEN has fewer than {SHORTEST_TOKEN} characters."
        found.append(Error(message, hint="`openssl rand -hex 32` makes one.", id="casproject.E011"))
    return found


@register
def check_ranges(**kwargs: Any) -> list[CheckMessage]:
    """E004: a number that makes no sense."""
    return [
        Error(
            f"{variable.name} must be {variable.range}, not {value:.12g}.",
            hint=f"The default is {variable.default.replace('`', '')}.",
            id="casproject.E004",
        )
        for variable in env.variables.values()
        if variable.range and not variable.holds(value := getattr(settings, variable.name))
    ]


@register
def check_threads(**kwargs: Any) -> list[CheckMessage]:
    """E003: transfers that wait for their clients could take every thread of a web process."""
    if settings.CAS_MAX_TRANSFERS < settings.CAS_WEB_THREADS:
        return []
    message = (
        f"CAS_MAX_TRANSFERS must be at least 1 and less than CAS_WEB_THREADS ({settings.CAS_WEB_THREADS}), "
        f"not {settings.CAS_MAX_TRANSFERS}."
    )
    return [Error(message, hint="Health checks, the admin and refusals need threads too.", id="casproject.E003")]


@register
def check_names(**kwargs: Any) -> list[CheckMessage]:
    """W001: a variable that begins like ours and that nobody reads."""
    return [
        checks.Warning(
            f"{name} is set, and nothing reads it.",
            hint=f"Is {nearest} meant?" if nearest else "docs/configuration.md has all that there are.",
            id="casproject.W001",
        )
        for name, nearest in env.unknown()
    ]
