"""Reads typed variables from the environment, and says which one is wrong and how."""

from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured


class Environment(environ.Env):  # type: ignore[misc]  # it has no types
    """django-environ, except that a value which cannot be read names its variable. Values are not shown: secrets."""

    def get_value(self, var: str, *args: Any, **kwargs: Any) -> Any:
        """As django-environ's; raises ImproperlyConfigured."""
        try:
            return super().get_value(var, *args, **kwargs)
        except (ValueError, TypeError) as error:
            raise ImproperlyConfigured(f"{var} cannot be read; README.md says what it may be.") from error

    def database(self, var: str, default: str) -> dict[str, Any]:
        """A database from its URL; raises ImproperlyConfigured."""
        try:
            config: dict[str, Any] = self.db_url(var, default=default)
        except ValueError:
            config = {}
        if not config.get("ENGINE"):
            raise ImproperlyConfigured(f"{var} is not a database URL such as postgres://user:password@host/name.")
        return config

    def log_level(self, var: str) -> str:
        """A level of Python's logging; raises ImproperlyConfigured."""
        level: str = self.str(var, default="INFO").upper()
        if level not in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}:
            raise ImproperlyConfigured(f"{var} must be DEBUG, INFO, WARNING, ERROR or CRITICAL.")
        return level
