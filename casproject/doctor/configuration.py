"""What is configured, with secrets masked, and what the system checks say of it."""

import re
from collections.abc import Iterator

from django.core import checks

from casproject.doctor.findings import Finding, fail, ok, warn
from casproject.environment import Variable
from casproject.variables import env

PART = "settings"
MASK = "********"

_NEXT = re.compile(r",\s*(?=[a-z][a-z0-9+.-]*://)", re.IGNORECASE)  # a password may have commas too


def configured() -> dict[str, str]:
    """Each variable that is set, as it may be shown."""
    return {name: _shown(variable) for name, variable in env.variables.items() if env.is_set(name)}


def _shown(variable: Variable) -> str:
    text = env.text_of(variable.name)
    if variable.is_secret:
        return MASK if text else ""
    if variable.kind == "URLs":
        return masked_all(text)
    return masked(text) if variable.kind == "URL" or "://" in text else text


def masked_all(urls: str) -> str:
    """URLs separated by commas, each masked; what follows a comma and is none is masked whole."""
    parts = [masked(url).partition(",") for url in _NEXT.split(urls)]
    return ",".join(first + comma + (MASK if comma else "") for first, comma, _ in parts)


def masked(url: str) -> str:
    """A URL without what is before its last @ or after a ?; one that is none is masked whole."""
    if not url:
        return ""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return MASK
    _, at, host = rest.rpartition("@")
    query = "?" + MASK if "?" in host else ""
    return f"{scheme}://{MASK if at else ''}{at}{host.partition('?')[0]}{query}"


def examine() -> Iterator[Finding]:
    """The system checks, of which a web server or worker refuses to start with one that fails."""
    found = [message for message in checks.run_checks() if not message.is_silenced()]
    for message in found:
        say = fail if message.is_serious() else warn
        yield say(PART, f"{message.msg} ({message.id})", str(message.hint or "docs/configuration.md"))
    if not found:
        yield ok(PART, f"{len(configured())} variables are set; the system checks pass")
