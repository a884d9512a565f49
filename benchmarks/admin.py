"""How long the admin's pages take with few events and with many: `python -m benchmarks.admin SMALL LARGE [--rounds N]`.

SMALL and LARGE are DATABASE_URLs of databases that `manage.py seed_events` filled, say with 10 thousand and 5 million
events, and that are migrated and sealed. Each database has a process of its own; they take turns, page by page, so
that whatever else the machine does falls on both. A page is rendered whole, through all of Django but the network.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from typing import Any, cast

from rich.console import Console
from rich.table import Table

LIMIT = 300  # ms
RATIO = 1.5


class Site:
    """A process over one database."""

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.admin_pages"],
            env={**os.environ, "DATABASE_URL": url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.about: dict[str, Any] = json.loads(self._answer())

    def _answer(self) -> str:
        line = cast(Any, self._process.stdout).readline()
        if not line:
            raise SystemExit(f"The process ended: {self._process.wait()}")
        return str(line)

    def time(self, page: str) -> float:
        """Milliseconds that a page takes."""
        pipe = cast(Any, self._process.stdin)
        pipe.write(f"{page}\n")
        pipe.flush()
        return float(self._answer())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("small")
    parser.add_argument("large")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    small, large = Site(options.small), Site(options.large)
    names = [name for name in small.about["pages"] if name in large.about["pages"]]
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in names}
    for number in range(options.rounds + 1):
        for name in names:
            for site, kept in zip((small, large), times[name], strict=True):
                took = site.time(name)
                if number:  # the first fills caches
                    kept.append(took)
    _print(small.about, large.about, times, options.rounds)


def _print(small: Any, large: Any, times: dict[str, tuple[list[float], list[float]]], rounds: int) -> None:
    title = f"{large['vendor']}: {small['events']:,} and {large['events']:,} events, ms, median of {rounds} [quartiles]"
    table = Table(title=title, title_justify="left")
    for column in ("page", "few", "many", "ratio", ""):
        table.add_column(column, justify="left" if column in {"page", ""} else "right")
    for name, (few, many) in times.items():
        ratio = statistics.median(many) / statistics.median(few)
        is_good = ratio <= RATIO and statistics.median(many) <= LIMIT
        table.add_row(name, _spread(few), _spread(many), f"{ratio:.2f}", "" if is_good else "beyond the goal")
    Console(width=120).print(table)


def _spread(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.1f} [{low:.1f}-{high:.1f}]"


if __name__ == "__main__":
    main()
