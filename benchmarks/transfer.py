"""Transfers, audited, against CNCF Distribution and nginx on the same disk: rates, CPU, memory, growth.

    .venv/bin/python -m benchmarks.transfer                        # everything; needs about 35 GiB, an hour
    .venv/bin/python -m benchmarks.transfer --rounds 3 --size 256  # a look
    .venv/bin/python -m benchmarks.transfer --only small-get --database sqlite
    .venv/bin/python -m benchmarks.transfer --breakdown            # where the time of one small request goes

Starts all servers itself, on free ports and in a folder of their own. Needs curl and wrk, and for the peers
docker-registry and nginx (apt names). docs/benchmarks.md says what is measured, and how.
"""

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from benchmarks import breakdown
from benchmarks.load import MIB, Source
from benchmarks.ours import Ours
from benchmarks.peers import Distribution, Nginx, Peer
from benchmarks.report import Report
from benchmarks.workloads import WORKLOADS, Bench, memory

PEERS: dict[str, type[Distribution] | type[Nginx]] = {"distribution": Distribution, "nginx": Nginx}
DATABASES = ("sqlite", "postgresql")
EXTRAS = ("memory", "growth", "breakdown")
GROWTH = ("small-get", "small-put")
FEW = 1000
WIDTH = 110

_console = Console(stderr=True)


def main() -> None:
    options = _options()
    _require_clients()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Ended by a signal."))  # which stops the servers too
    with folder_of(options.folder) as folder:
        report = Report()
        bench = Bench(folder / "content", options.size * MIB, options.seconds)
        if any(name in WORKLOADS or name == "memory" for name in options.only):
            _compare(options, bench, report)
        for database in options.database:
            if "growth" in options.only:
                _measure_growth(options, bench, report, database)
            if "breakdown" in options.only:
                stack = Ours(folder / f"breakdown-{database}", database)
                with running(stack):
                    breakdown.measure(stack, report)
        report.print(Console(width=WIDTH), [Distribution.name, Nginx.name, *(_grown(name, FEW) for name in DATABASES)])
        if options.json:
            report.write(options.json, vars(options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*WORKLOADS, *EXTRAS]
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--size", type=int, default=1024, help="MiB of the large artifact (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=5, help="of a small-* run (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="WORKLOAD", help=", ".join(names))
    parser.add_argument("--database", choices=[*DATABASES, "both"], default="both")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="(default: all)")
    parser.add_argument("--folder", type=Path, help="where all data is kept meanwhile (default: a temporary one)")
    parser.add_argument("--memory-size", type=int, default=10 * 1024, help="MiB (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of growth (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write every figure of every round to this file")
    parser.add_argument("--breakdown", action="store_true", help="the same as --only breakdown")
    options = parser.parse_args()
    if options.breakdown:
        options.only = ["breakdown"]
    options.database = DATABASES if options.database == "both" else (options.database,)
    return options


def _require_clients() -> None:
    missing = [name for name in ("curl", "wrk") if shutil.which(name) is None]
    if missing:
        sys.exit(f"Not found: {', '.join(missing)}. On Debian: apt install {' '.join(missing)}")


@contextmanager
def folder_of(parent: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cas-transfer-", dir=parent, ignore_cleanup_errors=True) as name:
        folder = Path(name).absolute()
        folder.chmod(0o755)  # PostgreSQL, which refuses to be root, must reach its own folder
        tempfile.tempdir = str(folder)
        kind = _file_system(folder)
        _console.print(f"All data is kept on {kind}, in {folder}.")
        if kind == "tmpfs":
            _console.print("That is memory, where syncing costs nothing: name a folder on a disk by --folder.")
        yield folder


def _file_system(folder: Path) -> str:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    holding = [mount for mount in mounts if folder.is_relative_to(mount[1])]
    return max(holding, key=lambda mount: len(mount[1]))[2]


@contextmanager
def running(*peers: Peer) -> Iterator[None]:
    with ExitStack() as stack:
        for peer in peers:
            stack.callback(peer.stop)
            peer.start()
        yield


def _peers(options: argparse.Namespace, folder: Path) -> list[Peer]:
    found: list[Peer] = [Ours(folder / database, database) for database in options.database]
    for name in options.peers:
        kind = PEERS[name]
        if kind.program:
            found.append(kind(folder / name))
        else:
            _console.print(f"{kind.name} is not installed and is left out. On Debian: apt install {kind.package}")
    return found


def _compare(options: argparse.Namespace, bench: Bench, report: Report) -> None:
    peers = _peers(options, bench.folder.parent)
    with running(*peers):
        names = [name for name in WORKLOADS if name in options.only]
        _measure(options.rounds, names, peers, bench, report)
        if "memory" in options.only:
            _measure_memory(options.memory_size, peers, bench, report)


def _measure(rounds: int, names: list[str], peers: list[Peer], bench: Bench, report: Report) -> None:
    for number in range(rounds):
        for name in names:
            for peer in [*peers[number % len(peers) :], *peers[: number % len(peers)]]:
                _console.print(f"round {number + 1} of {rounds}: {name}, {peer.name}")
                report.add(name, peer.name, WORKLOADS[name](bench, peer))


def _measure_memory(largest: int, peers: list[Peer], bench: Bench, report: Report) -> None:
    for size in (10, largest):
        source = Source(bench.folder / "sparse", size * MIB, is_sparse=True)
        for peer in peers:
            _console.print(f"memory: {size} MiB, {peer.name}")
            figures, processes = memory(peer, source)
            report.add(f"memory, {size} MiB", peer.name, figures)
            report.details[f"memory, {size} MiB, {peer.name}"] = processes


def _measure_growth(options: argparse.Namespace, bench: Bench, report: Report, database: str) -> None:
    few, many = (Ours(bench.folder.parent / f"{database}-{rows}", database) for rows in (FEW, options.rows))
    with running(few, many):
        for peer, rows in ((few, FEW), (many, options.rows)):
            _console.print(f"growth: {database}, making {rows} rows")
            peer.name = _grown(database, rows)
            peer.python("-m", "benchmarks.seed", str(rows))
        grown = Report()
        _measure(options.rounds, list(GROWTH), [few, many], bench, grown)
        report.take(grown, f"growth, {database}: ")


def _grown(database: str, rows: int) -> str:
    return f"{database}, {rows} rows"


if __name__ == "__main__":
    main()
