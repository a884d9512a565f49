"""What a web server costs before the first request: CPU until it is ready, and memory, by its number of processes.

    .venv/bin/python benchmarks/web_start.py [--rounds 5] [--workers 1 2 4]   # Linux

As the Procfile starts it, whose processes are forks of one that has loaded everything, beside granian's own command,
each of whose processes loads it for itself. Memory is the kernel's proportional set size: what processes share is
counted once. Both kinds take turns.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import django
from rich.console import Console

django.setup()

from benchmarks.processes import cpu_seconds, tree
from benchmarks.report import Report
from tests.functional.stack import LiveStack

SETTLED = 1.0  # seconds after it is ready
OWN, PLAIN = "ours", "granian's command"
_KIB, _MIB = 1024, 1024**2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    options = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        stack = LiveStack(Path(folder), None)
        stack.prepare()
        for _ in range(options.rounds):
            for workers in options.workers:
                stack.environment["CAS_WEB_WORKERS"] = str(workers)
                for name, module in ((OWN, "casproject.serve"), (PLAIN, "granian")):
                    report.add(f"{workers} processes", name, measure(stack, module))
    report.print(Console(width=110), [PLAIN])


def measure(stack: LiveStack, module: str) -> dict[str, float]:
    """Start it by this module, and end it."""
    stack.run_web_by(module)
    started = time.perf_counter()
    stack.start("web")
    seconds = time.perf_counter() - started
    time.sleep(SETTLED)
    roots = [int(stack.processes("web")[0])]
    figures = {"ms": seconds * 1000, "CPU ms": cpu_seconds(roots) * 1000}
    figures["memory MiB"] = sum(map(proportional, tree(roots))) / _MIB
    stack.end("web")
    return figures


def proportional(pid: int) -> int:
    """Bytes, each divided by the number of processes that have it."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * _KIB for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    main()
