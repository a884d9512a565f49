"""System checks of publishing."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, register

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
        if settings.NATS_URL and not _is_address(address)
    ]


@register
def check_sweep(**kwargs: Any) -> list[CheckMessage]:
    """E002: the sweep's interval is not positive."""
    if settings.CAS_SWEEP_SECONDS > 0:
        return []
    return [Error("CAS_SWEEP_SECONDS must be more than 0.", hint="The default is 5.", id="audit.E002")]


def _is_address(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
