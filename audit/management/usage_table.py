"""Usage as a person reads it: a table that is drawn anew on a terminal, lines elsewhere."""

from dataclasses import asdict
from typing import Any

from django.template.defaultfilters import pluralize
from rich.table import Table

from audit.stream_usage import Report
from audit.usage import Usage

_COLUMNS = ("uploads", "uploaded_bytes", "skipped_uploads", "saved_bytes", "downloads", "downloaded_bytes")


def as_dict(report: Report) -> dict[str, Any]:
    """For --json. Sizes are in bytes."""
    return {
        "organizations": {organization: asdict(usage) for organization, usage in report.organizations.items()},
        "applied": report.applied,
        "ignored": report.ignored,
        "doubled": report.doubled,
    }


def as_table(report: Report) -> Table:
    """For a terminal. Sizes are in bytes."""
    table = Table(caption=_summary(report), caption_justify="left")
    table.add_column("organization", no_wrap=True)
    for column in _COLUMNS:
        table.add_column(column.replace("_", " "), justify="right")
    for row in _rows(report):
        table.add_row(*row)
    return table


def as_text(report: Report) -> str:
    """For a pipe: columns apart by tabs, an organization a line."""
    lines = ["\t".join(["organization", *_COLUMNS])]
    lines += ["\t".join(row).replace(",", "") for row in _rows(report)]
    return "\n".join([*lines, _summary(report)])


def _rows(report: Report) -> list[list[str]]:
    return [[organization, *_cells(usage)] for organization, usage in report.organizations.items()]


def _cells(usage: Usage) -> list[str]:
    return [f"{getattr(usage, column):,}" for column in _COLUMNS]


def _summary(report: Report) -> str:
    parts = [f"{report.applied} event{pluralize(report.applied)} counted"]
    parts += [f"{count} ignored ({reason})" for reason, count in sorted(report.ignored.items())]
    if report.doubled:
        parts.append(f"{report.doubled} doubled, counted once")
    return ", ".join(parts)
