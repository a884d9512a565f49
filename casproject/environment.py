"""Reads typed variables from the environment, and keeps what each of them is: casproject/variables.py declares them.

What cannot be read is collected, so that all of it is told at once, and is never shown: it may be a secret.
"""

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import environ
from django.core.exceptions import ImproperlyConfigured

# The readers below go by these names.
_Str: TypeAlias = str
_Int: TypeAlias = int
_Float: TypeAlias = float
_Bool: TypeAlias = bool
_Texts: TypeAlias = list[str]
_Pairs: TypeAlias = dict[str, str]
_Config: TypeAlias = dict[str, Any]
_Pairings: TypeAlias = list[tuple[str, str]]
_T = TypeVar("_T")

LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_ENGINES = {"django.db.backends.postgresql", "django.db.backends.sqlite3"}
_ENDLESS = 1e9  # seconds, hours, days: what calendars cannot hold
_HUGE = 2**64  # nothing is counted so far; floats, which ranges are made of, end later
_TRUE = {"true", "yes", "on", "1", "y", "t"}
_FALSE = {"false", "no", "off", "0", "n", "f"}
# Kubernetes tells each pod of a service named "cas" like this, and so overwrites CAS_PORT.
_SERVICE_LINK = re.compile(r"(tcp|udp)://")
_SERVICE_VARIABLE = re.compile(r"_SERVICE_(HOST|PORT)|_PORT(_\d+_(TCP|UDP).*)?$")


@dataclass(frozen=True, slots=True)
class Variable:
    """What one variable of the environment is; kind, default and help are Markdown. `above` is no part of its range."""

    name: str
    kind: str
    default: str
    help: str
    unit: str = ""
    section: str = ""
    is_secret: bool = False
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None

    @property
    def range(self) -> str:
        """Such as "more than 0, and at most 60", or ""."""
        ends = [
            *([] if self.at_least is None else [f"{self.at_least:g} or more"]),
            *([] if self.above is None else [f"more than {self.above:g}"]),
            *([] if self.at_most is None else [f"at most {self.at_most:.12g}"]),
        ]
        return ", and ".join(ends)

    def holds(self, value: float) -> bool:
        """Whether a number is within the range; not-a-number never is."""
        return (
            math.isfinite(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
        )


_Variables: TypeAlias = dict[str, Variable]


class Environment:
    """One reader for each type. Each takes a name, `default`, `help` (no full stop), and what else Variable has.

    `shown` is the default as people say it. Whether a number is in its range is asked by a system check, not here.
    """

    def __init__(self) -> None:
        self.variables: _Variables = {}
        self._problems: _Texts = []
        self._section = ""

    def section(self, title: _Str) -> None:
        """Begin a section of the table."""
        self._section = title

    def outside(self, name: _Str, *, default: _Str, help: _Str, is_secret: _Bool = False) -> None:
        """Declare a variable that is read elsewhere."""
        self._declare(name, "text", _code(default), help, is_secret=is_secret)

    def str(self, name: _Str, *, default: _Str, help: _Str, shown: _Str = "", is_secret: _Bool = False) -> _Str:
        self._declare(name, "text", shown or _code(default), help, is_secret=is_secret)
        return os.environ.get(name, default)

    def choice(self, name: _Str, *, default: _Str, of: tuple[_Str, ...], help: _Str) -> _Str:
        """One of these words, in the case they have here."""
        self._declare(name, " or ".join(map(_code, of)), _code(default), help)
        found = {word.lower(): word for word in of}.get(os.environ.get(name, default).lower())
        if found is None:
            self._problems.append(f"{name} must be one of {', '.join(of)}.")
        return found or default

    def bool(self, name: _Str, *, default: _Bool, help: _Str) -> _Bool:
        self._declare(name, "`true` or `false`", _code(_Str(default).lower()), help)
        return self._read(name, default, _parse_bool)

    def int(self, name: _Str, *, default: _Int, help: _Str, shown: _Str = "", unit: _Str = "", **ends: _Float) -> _Int:
        self._declare(name, "whole number", shown or _code(_Str(default)), help, unit=unit, **ends)
        return self._read(name, default, _parse_int)

    def float(
        self, name: _Str, *, default: _Float, help: _Str, shown: _Str = "", unit: _Str = "", **ends: _Float
    ) -> _Float:
        self._declare(name, "number", shown or _code(f"{default:g}"), help, unit=unit, **ends)
        return self._read(name, default, _parse_float)

    def list(self, name: _Str, *, default: _Texts, help: _Str, shown: _Str = "", is_secret: _Bool = False) -> _Texts:
        """Texts separated by commas."""
        self._declare(name, "list", shown or _code(",".join(default)), help, is_secret=is_secret)
        return self._read(name, default, lambda text: [item.strip() for item in text.split(",") if item.strip()])

    def dict(self, name: _Str, *, default: _Pairs, help: _Str) -> _Pairs:
        """`NAME=text` separated by commas."""
        shown = _code(",".join(f"{key}={text}" for key, text in default.items()))
        self._declare(name, "list of `NAME=value`", shown, help)
        return self._read(name, default, _parse_pairs)

    def url(self, name: _Str, *, default: _Str, help: _Str, shown: _Str = "") -> _Str:
        """One that is never empty once it is set: an empty one is more often a mistake than meant."""
        self._declare(name, "URL", shown or _code(default), help)
        if os.environ.get(name) == "":
            self._problems.append(f"{name} is empty. Leave it out for the default: {shown or default}.")
        return os.environ.get(name) or default

    def urls(self, name: _Str, *, default: _Str, help: _Str) -> _Str:
        """URLs separated by commas, as one text; none when it is empty."""
        self._declare(name, "URLs", _code(default), help)
        return os.environ.get(name, default)

    def database(self, name: _Str, *, default: _Str, help: _Str, shown: _Str) -> _Config:
        """Django's configuration of a database, from its URL."""
        url = self.url(name, default=default, help=help, shown=shown)
        try:
            config: _Config = environ.Env.db_url_config(url)
        except (ValueError, ImproperlyConfigured):
            config = {}
        if config.get("ENGINE") not in _ENGINES:
            self._problems.append(f"{name} is not a database URL such as postgres://user:password@host/name.")
            config = environ.Env.db_url_config(default)
        return config

    def text_of(self, name: _Str) -> _Str:
        """As the environment has it; "" when it is not set."""
        return os.environ.get(name, "")

    def is_set(self, name: _Str) -> _Bool:
        return os.environ.get(name) is not None

    def unknown(self) -> _Pairings:
        """Each variable that is set and begins like ours, but is none of them, and the nearest of them, or ""."""
        known = self.variables.keys()
        named = [(name, next(iter(get_close_matches(name, known, n=1, cutoff=0.8)), "")) for name in sorted(os.environ)]
        return [
            (name, nearest)
            for name, nearest in named
            if name not in self.variables
            and not _SERVICE_VARIABLE.search(name)
            # Other programs have variables of their own that begin with these.
            and (name.startswith("CAS_") or (nearest and name.startswith(("AUDIT_", "NATS_", "CELERY_", "DATABASE_"))))
        ]

    def refuse_unreadable(self) -> None:
        """Raise ImproperlyConfigured with a line for each variable that could not be read."""
        if self._problems:
            raise ImproperlyConfigured("\n".join(self._problems))

    def _declare(self, name: _Str, kind: _Str, default: _Str, help: _Str, **more: Any) -> None:
        self.variables[name] = Variable(name, kind, default, help, section=self._section, **more)

    def _read(self, name: _Str, default: _T, parse: Callable[[_Str], _T]) -> _T:
        text = os.environ.get(name)
        if text is None:
            return default
        try:
            return parse(text.strip())
        except ValueError:
            kind = self.variables[name].kind.replace("`", "")
            hint = " Kubernetes sets it: enableServiceLinks: false." if _SERVICE_LINK.match(text) else ""
            self._problems.append(f"{name} cannot be read: it must be a {kind}; docs/configuration.md has all.{hint}")
            return default


def read_file(path: Path) -> None:
    """Take variables that are not set from a file of `NAME=value` lines, if there is one."""
    environ.Env.read_env(str(path))


def _code(text: str) -> str:
    return f"`{text}`" if text else "none"


def _parse_bool(text: str) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        raise ValueError
    return text.lower() in _TRUE


def _parse_int(text: str) -> int:
    value = int(text)
    if abs(value) > _HUGE:
        raise ValueError
    return value


def _parse_float(text: str) -> float:
    value = float(text)
    if not abs(value) < _ENDLESS:  # nor is not-a-number
        raise ValueError
    return value


def _parse_pairs(text: str) -> dict[str, str]:
    pairs = [item.partition("=") for item in text.split(",") if item.strip()]
    if not all(separator for _, separator, _ in pairs):
        raise ValueError
    return {key.strip(): value.strip() for key, _, value in pairs}
