"""Break what the stack depends on, under clients that go on, and count what became of every transfer.

    .venv/bin/python -m tests.chaos [--database sqlite|postgresql|both] [--seconds 5] [--rounds 3] [--only FAULT ...]

Exits with 1 when something was lost, doubled or failed that must not be.
"""

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

import django

django.setup()

from rich.console import Console

from tests.chaos.faults import FAULTS
from tests.chaos.faults.base import Fault, Unavailable
from tests.chaos.report import result_of, table_of
from tests.chaos.run import Result, run
from tests.chaos.world import World


def main() -> None:
    options = parse()
    console = Console(width=None if sys.stdout.isatty() else 230)
    if options.list:
        for name, kind in FAULTS.items():
            console.print(f"{name:42} {(kind.__doc__ or '').splitlines()[0]}")
        return
    kinds = [FAULTS[name] for name in options.only or FAULTS]
    databases = ["sqlite", "postgresql"] if options.database == "both" else [options.database]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leaves no process behind, as with Ctrl-C
    is_sound = True
    for database in databases:
        results, missing = run_all(database, kinds, options.seconds, options.rounds)
        title = (
            f"{database}: {options.rounds} rounds of {options.seconds:g} s calm and {options.seconds:g} s of the fault"
        )
        console.print(table_of(title, results, missing))
        for result in results:
            for detail, count in result.details.most_common(3):
                console.print(f"{result.fault.name()}: {count} x {detail}", markup=False)
        is_sound = is_sound and not any(result.problems() for result in results)
    sys.exit(0 if is_sound else 1)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--seconds", type=float, default=5, help="of calm and of fault in each round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--only", nargs="+", choices=list(FAULTS), metavar="FAULT", help="see --list")
    parser.add_argument("--list", action="store_true", help="name the faults")
    return parser.parse_args()


def run_all(
    database: str, kinds: list[type[Fault]], seconds: float, rounds: int
) -> tuple[list[Result], dict[str, str]]:
    """What became of each fault that this database can have; and why others could not be had."""
    results: list[Result] = []
    missing: dict[str, str] = {}
    with (
        tempfile.TemporaryDirectory(prefix="cas-chaos-", ignore_cleanup_errors=True) as folder,
        World(Path(folder), on_postgresql=database == "postgresql") as world,
    ):
        for kind in kinds:
            if kind.only_on not in {"", database}:
                continue
            print(f"{database}: {kind.name()} ... ", end="", file=sys.stderr, flush=True)
            try:
                results.append(run(world, kind, seconds, rounds))
                print(result_of(results[-1]), file=sys.stderr)
            except Unavailable as error:
                missing[kind.name()] = str(error)
                print(f"not run: {error}", file=sys.stderr)
            except KeyboardInterrupt:
                missing[kind.name()] = "interrupted, and all after it"
                break
    return results, missing


if __name__ == "__main__":
    main()
