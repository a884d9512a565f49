"""From committed events to acks, against nats-py without an outbox; and what one request pays for its event.

    .venv/bin/python -m benchmarks.outbox                              # both databases, about ten minutes
    .venv/bin/python -m benchmarks.outbox --events 5000 --rounds 3 --database postgresql --only delivery

Starts all servers itself, in a folder of their own. docs/benchmarks.md says what is measured, and how.
"""

import argparse
import signal
import sys
from pathlib import Path

from rich.console import Console

from benchmarks import audit_cost, bare_event, delivery
from benchmarks.ours import Ours
from benchmarks.report import Report
from benchmarks.transfer import DATABASES, WIDTH, folder_of, running

PARTS = ("delivery", "cost")


def main() -> None:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Ended by a signal."))  # which stops the servers too
    report = Report()
    with folder_of(options.folder) as folder:
        for database in DATABASES if options.database == "both" else (options.database,):
            stack = Ours(folder / database, database)
            with running(stack):
                if "cost" in options.only:
                    audit_cost.measure(stack, options.rounds, report)
                    bare_event.measure(stack, options.rounds, report)
                if "delivery" in options.only:
                    delivery.measure(stack, options.events, options.rounds, report)
    report.print(Console(width=WIDTH), [delivery.RAW])
    if options.json:
        report.write(options.json, vars(options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000, help="of a delivery (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--database", choices=[*DATABASES, "both"], default="both")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--folder", type=Path, help="where all data is kept meanwhile (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="write every figure of every round to this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
