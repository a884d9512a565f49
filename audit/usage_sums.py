"""Sums over usage totals: what the API, the pages and the files of usage all ask the database for."""

from collections.abc import Mapping
from typing import Any

from django.db.models import F, Q, Sum

from audit.events import Kind
from audit.usage import Usage

_HALF = 2**32
_KINDS = {
    "uploaded_bytes": ("bytes", Kind.UPLOADED),
    "downloaded_bytes": ("bytes", Kind.DOWNLOADED),
    "saved_bytes": ("bytes", Kind.DEDUPLICATED),
    "uploads": ("transfers", Kind.UPLOADED),
    "downloads": ("transfers", Kind.DOWNLOADED),
    "skipped_uploads": ("transfers", Kind.DEDUPLICATED),
}
COUNTS = list(_KINDS)  # the fields of audit/usage.py: Usage
FIGURES = [*COUNTS, "dedup_ratio"]


def halves(name: str, column: str, **options: Any) -> dict[str, Sum]:
    """A sum in two halves: whatever sizes others claimed to have moved, SQLite can add them up."""
    return {
        f"{name}_high": Sum(F(column) / _HALF, **options),
        f"{name}_low": Sum(F(column) % _HALF, **options),
    }


def whole(name: str, row: Mapping[str, Any]) -> int:
    """Of a row annotated with `halves`."""
    return int(row[f"{name}_high"] * _HALF + row[f"{name}_low"])


def sums() -> dict[str, Sum]:
    """What to annotate with."""
    found: dict[str, Sum] = {}
    for name, (column, kind) in _KINDS.items():
        found |= halves(name, column, filter=Q(kind=kind), default=0)
    return found


def counts_of(row: Mapping[str, Any]) -> dict[str, int]:
    """The sums of an annotated row, by the names in COUNTS."""
    return {name: whole(name, row) for name in COUNTS}


def figures_of(usage: Usage) -> dict[str, Any]:
    """What the API and the files show, by the names in FIGURES."""
    ratio = usage.dedup_ratio
    return {
        **{name: getattr(usage, name) for name in COUNTS},
        "dedup_ratio": None if ratio is None else round(ratio, 6),
    }
