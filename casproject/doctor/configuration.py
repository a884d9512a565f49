"""What is configured, with secrets masked, and what the system checks say of it."""

from collections.abc import Iterator

from django.core import checks

from casproject.doctor.findings import Finding, fail, ok, warn
from casproject.environment import Variable
from casproject.variables import env

PART = "settings"
MASK = "********"


def configured() -> dict[str, str]:
    """Each variable that is set, as it may be shown."""
    return {name: _shown(variable) for name, variable in env.variables.items() if env.is_set(name)}


def _shown(variable: Variable) -> str:
    text = env.text_of(variable.name)
    if variable.is_secret:
        return MASK if text else ""
    if "URL" in variable.kind:
        return masked(text)
    return text


def masked(urls: str) -> str:
    """URLs separated by commas, without what is before an @ or after a ?; one that is none is masked whole."""
    return ",".join(map(_masked, urls.split(",")))


def _masked(url: str) -> str:
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
