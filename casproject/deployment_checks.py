"""System checks of what is right on a laptop and wrong elsewhere, and the other way round."""

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from kombu.transport import TRANSPORT_ALIASES

SHORTEST_SECRET = 32  # characters
FEWEST_DIFFERENT = 8  # characters in it

_PLACEHOLDERS = ("changeme", "change-me", "secret", "insecure", "example", "development", "password")


@register
def check_broker(**kwargs: Any) -> list[CheckMessage]:
    """E005: no broker goes by this name. E006: one that cannot reach from the web server to a worker."""
    scheme = urlsplit(settings.CELERY_BROKER_URL).scheme
    if scheme == "memory":
        message = "CELERY_BROKER_URL is memory://, which is each process's own: no worker would hear of an event."
        return [Error(message, hint="embedded:// needs no server either.", id="casproject.E006")]
    if scheme.partition("+")[0] not in TRANSPORT_ALIASES or "//" not in settings.CELERY_BROKER_URL:
        hint = "The form is redis://host:6379/0, amqp://user:password@host:5672//, or embedded://."
        return [Error("CELERY_BROKER_URL is not the URL of a broker.", hint=hint, id="casproject.E005")]
    return []


@register
def check_hosts(**kwargs: Any) -> list[CheckMessage]:
    """W002, W003: database and broker are of different minds about how many machines there are."""
    is_embedded = settings.CELERY_BROKER_URL.startswith("embedded:")
    is_sqlite = connection.vendor == "sqlite"
    if is_embedded and not is_here(connection.settings_dict.get("HOST", "")):
        message = "CELERY_BROKER_URL is embedded://, and the database is on another machine."
        hint = "embedded:// reaches no worker of another machine: redis://… or amqp://… does."
        return [checks.Warning(message, hint=hint, id="casproject.W002")]
    if is_sqlite and not is_embedded and not is_here(urlsplit(settings.CELERY_BROKER_URL).hostname or ""):
        message = "The database is SQLite, and the broker is on another machine."
        hint = "SQLite is for the processes of one machine, and for no network file system. DATABASE_URL=postgres://…"
        return [checks.Warning(message, hint=hint, id="casproject.W003")]
    return []


@register
def check_secrets(**kwargs: Any) -> list[CheckMessage]:
    """E007: a secret key that can be guessed. W004: the secrets of a development stack where others come by."""
    try:
        key = settings.SECRET_KEY
    except ImproperlyConfigured:
        return []  # casproject.E001 tells it
    found: list[CheckMessage] = []
    words = next((word for word in _PLACEHOLDERS if word in key.lower()), "")
    if len(key) < SHORTEST_SECRET or len(set(key)) < FEWEST_DIFFERENT or words:
        message = f"CAS_SECRET_KEY can be guessed: fewer than {SHORTEST_SECRET} random characters."
        found.append(Error(message, hint="`manage.py make_keys` makes one.", id="casproject.E007"))
    if is_public() and (settings.CAS_DATA_DIR / "development.env").exists():
        message = f"{settings.CAS_DATA_DIR / 'development.env'} is read: it has the secrets of a development stack."
        hint = "Another CAS_DATA_DIR, and keys of your own, for what is not only for this machine."
        found.append(checks.Warning(message, hint=hint, id="casproject.W004"))
    return found


@register
def check_what_others_reach(**kwargs: Any) -> list[CheckMessage]:
    """E008: debug pages for others. E009: nobody is answered. W005, W006: anybody is; cookies in the open."""
    found: list[CheckMessage] = []
    if settings.DEBUG and is_public():
        message = "CAS_DEBUG is on, and others than this machine can reach the server."
        hint = "Its pages show code and settings to whoever meets an error. CAS_DEBUG=false."
        found.append(Error(message, hint=hint, id="casproject.E008"))
    if not settings.ALLOWED_HOSTS:
        hint = "Name the hosts by which clients know the server, such as cas.example.com."
        found.append(Error("CAS_ALLOWED_HOSTS is empty: nobody is answered.", hint=hint, id="casproject.E009"))
    if "*" in settings.ALLOWED_HOSTS:
        message = "CAS_ALLOWED_HOSTS is *: whoever calls the server by another name is answered."
        found.append(checks.Warning(message, hint="Name the hosts that there are.", id="casproject.W005"))
    if settings.CAS_BEHIND_PROXY and not settings.SESSION_COOKIE_SECURE:
        message = "CAS_SECURE_COOKIES is false behind a proxy: the admin's session could travel in the open."
        found.append(checks.Warning(message, hint="CAS_SECURE_COOKIES=true, the default.", id="casproject.W006"))
    return found


@register
def check_end(**kwargs: Any) -> list[CheckMessage]:
    """W007: a server that is about to end takes new transfers for longer than it lets old ones finish."""
    if settings.CAS_DRAIN_SECONDS <= settings.CAS_GRACE_SECONDS:
        return []
    message = (
        f"CAS_DRAIN_SECONDS ({settings.CAS_DRAIN_SECONDS:g}) is longer than "
        f"CAS_GRACE_SECONDS ({settings.CAS_GRACE_SECONDS})."
    )
    hint = "Transfers that began while it drained are cut after the shorter time. Lengthen it."
    return [checks.Warning(message, hint=hint, id="casproject.W007")]


def is_here(host: str) -> bool:
    """Whether a host is this machine, as far as its name tells. A path of a socket is, and so is no name at all."""
    if not host or host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_public() -> bool:
    """Whether others than this machine are meant to reach the web server."""
    names = [host.lstrip(".") for host in settings.ALLOWED_HOSTS]
    return settings.CAS_BEHIND_PROXY or not all(map(is_here, [settings.CAS_HOST, *names]))
