"""What a small upload costs while NATS or the broker is away, against when all is well.

    .venv/bin/python benchmarks/outages.py

Starts a stack of its own and uploads new 4 KiB artifacts one by one over one connection: rounds of every
condition in turn, so that drift of the machine meets all alike. Prints medians, p99s, and each against "all up".
"""

import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import django
import requests
from rich.console import Console
from rich.table import Table

django.setup()

from artifacts.tokens import UPLOADER
from tests.factories import digest_of
from tests.functional.stack import LiveStack, Tenant
from tests.servers import NatsServer

ROUNDS = 7
UPLOADS = 150  # a round


@contextmanager
def all_up(stack: LiveStack) -> Iterator[None]:
    yield


@contextmanager
def nats_killed(stack: LiveStack) -> Iterator[None]:
    assert stack.nats is not None  # noqa: S101
    stack.nats.stop()
    yield
    stack.nats.start()


@contextmanager
def nats_frozen(stack: LiveStack) -> Iterator[None]:
    assert stack.nats is not None  # noqa: S101
    os.kill(stack.nats.process.pid, signal.SIGSTOP)
    yield
    os.kill(stack.nats.process.pid, signal.SIGCONT)


@contextmanager
def broker_failing(stack: LiveStack) -> Iterator[None]:
    """The broker's folder becomes a file, so that every nudge fails."""
    broker = stack.folder / "broker"
    shutil.rmtree(broker)
    broker.touch()
    yield
    broker.unlink()
    broker.mkdir()


@contextmanager
def worker_stopped(stack: LiveStack) -> Iterator[None]:
    stack.signal("worker", signal.SIGSTOP)
    yield
    stack.signal("worker", signal.SIGCONT)


CONDITIONS = [all_up, nats_killed, nats_frozen, worker_stopped, broker_failing]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="cas-outages-") as name:
        folder = Path(name)
        stack = LiveStack(folder / "stack", NatsServer(folder / "nats"))
        stack.prepare()
        stack.start()
        try:
            Console().print(table_of(measure(stack)))
        finally:
            stack.stop()


def measure(stack: LiveStack) -> dict[str, list[float]]:
    """Seconds of every upload, by condition."""
    seconds: dict[str, list[float]] = {condition.__name__: [] for condition in CONDITIONS}
    with requests.Session() as session:
        session.headers.update(Tenant(stack).headers(UPLOADER))
        upload_some(stack, session)  # warm up
        for _ in range(ROUNDS):
            for condition in CONDITIONS:
                with condition(stack):
                    seconds[condition.__name__] += upload_some(stack, session)
    return seconds


def upload_some(stack: LiveStack, session: requests.Session) -> list[float]:
    contents = [os.urandom(4096) for _ in range(UPLOADS)]
    seconds = []
    for content in contents:
        url = f"{stack.url}/artifacts/{digest_of(content)}"
        started = time.perf_counter()
        answer = session.put(url, content, timeout=60)
        seconds.append(time.perf_counter() - started)
        assert answer.status_code == 201, answer.text  # noqa: S101
    return seconds


def table_of(seconds: dict[str, list[float]]) -> Table:
    table = Table(title=f"PUT of 4 KiB, {ROUNDS} rounds of {UPLOADS}, milliseconds")
    for column in ("condition", "median", "ratio", "p99", "ratio"):
        table.add_column(column, justify="left" if column == "condition" else "right")
    base = seconds["all_up"]
    for name, values in seconds.items():
        median, p99 = statistics.median(values), statistics.quantiles(values, n=100)[-1]
        base_median, base_p99 = statistics.median(base), statistics.quantiles(base, n=100)[-1]
        table.add_row(
            name.replace("_", " "),
            f"{median * 1000:.2f}",
            f"{median / base_median:.2f}",
            f"{p99 * 1000:.2f}",
            f"{p99 / base_p99:.2f}",
        )
    return table


if __name__ == "__main__":
    main()
