"""System checks of publishing and of the trail."""

from argparse import ArgumentTypeError
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

from audit import keys, nats_access
from audit.names import stream_name

LONGEST_RETENTION = 100_000  # days; more than Python's calendar would hold makes no sense

_SCHEMES = {"nats", "tls"}


@register
def check_nats_url(**kwargs: Any) -> list[CheckMessage]:
    """E001: NATS_URL is no list of NATS addresses. Whether a server is there is not asked: it may come later."""
    return [
        Error(
            f"NATS_URL: address {position} is not a NATS address.",  # it may hold a password: not shown
            hint="The form is nats://host:4222, several separated by commas.",
            id="audit.E001",
        )
        for position, address in enumerate(settings.NATS_URL.split(","), start=1)
        if settings.NATS_URL and not _is_address(address.strip())
    ]


@register
def check_nats_access(**kwargs: Any) -> list[CheckMessage]:
    """E006: files of credentials or of TLS that cannot be used. E007: what makes no sense together."""
    if not settings.NATS_URL:
        return []
    found: list[CheckMessage] = []
    try:
        nats_access.configured(settings.NATS_URL)
    except nats_access.AccessError as error:
        hint = "docs/operations.md, “Access to NATS”, says what each file holds."
        found.append(Error(str(error), hint=hint, id="audit.E006"))
    names = ("NATS_USER", "NATS_TOKEN", "NATS_NKEY", "NATS_CREDS")
    if len(given := [name for name in names if getattr(settings, name)]) > 1:
        found.append(Error(f"{' and '.join(given)} are set.", hint="One of them is enough.", id="audit.E007"))
    for name, other in (("NATS_USER", "NATS_PASSWORD"), ("NATS_PASSWORD", "NATS_USER"), ("NATS_KEY", "NATS_CERT")):
        if getattr(settings, name) and not getattr(settings, other):
            found.append(Error(f"{name} is set without {other}.", hint="Set both, or neither.", id="audit.E007"))
    return found


@register
def check_checkpoint_key(**kwargs: Any) -> list[CheckMessage]:
    """E004: the key that should sign checkpoints cannot. E005: an earlier one's public key is none."""
    try:
        key = keys.signing_key()
    except keys.KeyFileError as error:
        hint = "`manage.py make_checkpoint_key` makes one."
        return [Error(f"CAS_CHECKPOINT_KEY: {error}", hint=hint, id="audit.E004")]
    try:
        keys.known_keys(key)
    except keys.KeyFileError as error:
        hint = "Name the checkpoint-public.pem of each earlier key (docs/keys.md)."
        return [Error(f"CAS_CHECKPOINT_PUBLIC_KEYS: {error}", hint=hint, id="audit.E005")]
    return []


@register
def check_mirror(**kwargs: Any) -> list[CheckMessage]:
    """E020: there is nothing to mirror. E021: the name is none that a consumer can have."""
    if not settings.CAS_MIRROR:
        return []
    problems: list[CheckMessage] = []
    if not settings.NATS_URL:
        problems.append(Error("CAS_MIRROR needs NATS_URL.", hint="Set it, or CAS_MIRROR=false.", id="audit.E020"))
    try:
        stream_name(settings.CAS_MIRROR_CONSUMER)
    except ArgumentTypeError as error:
        hint = "The default is artifact-cas-mirror."
        problems.append(Error(f"CAS_MIRROR_CONSUMER: {error}.", hint=hint, id="audit.E021"))
    return problems


def _is_address(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
