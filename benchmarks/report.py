"""Figures of all rounds, and their tables: median, spread, and how ours compare."""

import json
import os
import platform
import statistics
import subprocess
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HEADLINES = {"MB/s", "per second", "p50 ms", "p99 ms", "ms"}  # what is compared with the peers


class Report:
    """Collects figures by workload, peer and metric."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(list))
        )
        self.details: dict[str, Any] = {}

    def add(self, workload: str, peer: str, figures: dict[str, float]) -> None:
        for metric, value in figures.items():
            self._values[workload][peer][metric].append(value)

    def take(self, other: "Report", prefix: str) -> None:
        """Add another report's figures, under titles that begin with this."""
        for workload, peers in other._values.items():
            self._values[prefix + workload] = peers

    def print(self, console: Console, references: list[str]) -> None:
        """A table for each workload; `references` are the peers that the others are compared with."""
        for workload, peers in self._values.items():
            compared = [name for name in references if name in peers]
            table = Table(title=workload, title_justify="left")
            for column in ("", "", "median", "min .. max", *(f"/ {name}" for name in compared)):
                table.add_column(column, justify="right" if column else "left", no_wrap=True)
            for metric in dict.fromkeys(metric for metrics in peers.values() for metric in metrics):
                for peer, metrics in peers.items():
                    if metric in metrics:
                        table.add_row(*self._row(workload, peer, metric, compared))
                table.add_section()
            console.print(table)

    def _row(self, workload: str, peer: str, metric: str, compared: list[str]) -> list[str]:
        values = self._values[workload][peer][metric]
        ratios = [self._ratio(workload, peer, metric, name) if metric in HEADLINES else "" for name in compared]
        spread = f"{_number(min(values))} .. {_number(max(values))}"
        return [metric, peer, _number(statistics.median(values)), spread, *ratios]

    def _ratio(self, workload: str, peer: str, metric: str, reference: str) -> str:
        base = self._values[workload][reference].get(metric)
        if reference == peer or not base or not statistics.median(base):
            return ""
        return f"{statistics.median(self._values[workload][peer][metric]) / statistics.median(base):.2f}"

    def write(self, path: Path, options: dict[str, Any]) -> None:
        """Everything, for a machine to read."""
        content = {"machine": _machine(), "options": options, "figures": self._values, "details": self.details}
        path.write_text(json.dumps(content, indent=2, default=str) + "\n")


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"


def _machine() -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "commit": commit.stdout.strip(),
    }
