"""How fast committed events are acknowledged: by one worker of the Procfile, by two, by nats-py with no outbox."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console

from benchmarks.ours import Ours
from benchmarks.processes import cpu_seconds
from benchmarks.report import Report

RAW = "nats-py, raw"
_WAYS = {RAW: 0, "one worker": 1, "two workers": 2}
_START_SECONDS = 5  # until a worker has connected to all it needs

_console = Console(stderr=True)

Process = subprocess.Popen[bytes]


def measure(stack: Ours, events: int, rounds: int, report: Report) -> None:
    """Add events per second, and CPU microseconds of each event, of every way in turn."""
    # Sealing is measured apart, and a worker that is stopped while it seals keeps SQLite locked: not for ten minutes.
    stack.environment["CAS_SEAL_SECONDS"] = "300"
    names = ["worker-2", "worker-3"]
    for number in (2, 3):
        stack.spawn("worker", number)
    time.sleep(_START_SECONDS)
    workers = [stack.processes[name] for name in names]
    with stopped([stack.processes["worker"], *workers, stack.processes["beat"]]):
        for number in range(rounds):
            for way in [*_WAYS][number % 3 :] + [*_WAYS][: number % 3]:
                _console.print(f"round {number + 1} of {rounds}: delivery, {stack.name}, {way}")
                used = workers[: _WAYS[way]]
                figures = _publish(stack, used, events) if used else _publish_raw(stack, events)
                report.add(f"delivery, {stack.name}", way, figures)
    for name in names:
        stack.processes.pop(name).terminate()


@contextmanager
def stopped(processes: Sequence[Process]) -> Iterator[None]:
    """Nothing of these runs while the block does, but for what it lets run."""
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


def _publish(stack: Ours, workers: Sequence[Process], events: int) -> dict[str, float]:
    stack.python("-m", "benchmarks.events", "fill", str(events), str(len(workers)))
    os.sync()
    servers = {"worker": [worker.pid for worker in workers], "NATS": [stack.nats.process.pid]}
    if stack.postgres:
        servers["PostgreSQL"] = [stack.postgres.process.pid]
    before = {name: cpu_seconds(roots) for name, roots in servers.items()}
    started = time.time()
    for worker in workers:
        worker.send_signal(signal.SIGCONT)
    ended = stack.wait_until_published()
    for worker in workers:
        worker.send_signal(signal.SIGSTOP)
    spent = {name: (cpu_seconds(roots) - before[name]) / events * 1e6 for name, roots in servers.items()}
    return {"per second": events / (ended - started), **{f"CPU µs, {name}": each for name, each in spent.items()}}


def _publish_raw(stack: Ours, events: int) -> dict[str, float]:
    before = cpu_seconds([stack.nats.process.pid])
    seconds, cpu = map(float, stack.python("-m", "benchmarks.events", "raw", str(events)).split())
    spent = cpu_seconds([stack.nats.process.pid]) - before
    return {
        "per second": events / seconds,
        "CPU µs, worker": cpu / events * 1e6,
        "CPU µs, NATS": spent / events * 1e6,
    }
