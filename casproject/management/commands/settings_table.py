"""Prints docs/configuration.md, made of what casproject/variables.py declares."""

from itertools import groupby
from typing import Any

from django.core.management.base import BaseCommand

from casproject.environment import Variable
from casproject.variables import env

HEAD = """# Configuration

Everything is set by environment variables. What cannot be read, and what fails a system check, stops the start of web
server and workers with a message; `manage.py check` says the same beforehand, and `manage.py doctor` also tries what is
configured. A name that begins like ours and is none of these is warned about.

`manage.py settings_table > docs/configuration.md` makes this page from `casproject/variables.py`.
"""


class Command(BaseCommand):
    help = "Print docs/configuration.md: every variable of the environment, its type, its default and what it means."
    requires_system_checks = []

    def handle(self, **options: Any) -> None:
        """Print it."""
        self.stdout.write(page(), ending="")


def page() -> str:
    """The page, in Markdown."""
    lines = [HEAD]
    for section, variables in groupby(env.variables.values(), key=lambda variable: variable.section):
        lines += [f"## {section}", "", "| variable | type | default | meaning |", "|---|---|---|---|"]
        lines += [*map(_row, variables), ""]
    return "\n".join(lines)


def _row(variable: Variable) -> str:
    kind = ", ".join(filter(None, (variable.kind, variable.unit, variable.range)))
    return f"| `{variable.name}` | {kind} | {variable.default} | {variable.help} |"
