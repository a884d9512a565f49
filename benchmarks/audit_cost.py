"""What one transfer pays for its event: with a token that makes one and with one that does not, in turn.

Once while all is well, once while NATS, worker, beat and broker are all down, and once while the database, too, takes
no event.
"""

import http.client
import os
import shutil
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import partial
from hashlib import sha256
from typing import TypeVar

import psycopg
from rich.console import Console

from benchmarks.delivery import stopped
from benchmarks.load import MIB, SMALL, LoadError
from benchmarks.ours import Ours
from benchmarks.report import Report

_PAIRS = {SMALL: 300, MIB: 200}  # a round
_console = Console(stderr=True)

Headers = Mapping[str, str]
_T = TypeVar("_T")


def measure(stack: Ours, rounds: int, report: Report) -> None:
    """Add milliseconds with and without an event, and their difference, of each transfer and condition in turn."""
    stored = {size: os.urandom(size) for size in _PAIRS}
    for content in stored.values():
        stack.put(content)
    get = stack.get_headers, stack.unaudited("downloader")
    put = stack.put_headers, stack.unaudited("uploader")
    conditions: dict[str, Callable[[Ours], AbstractContextManager[None]]] = {
        "all up": all_up,
        "all down": all_down,
        "all down, no row": all_down_and_no_row,
    }
    for number in range(rounds):
        for name, condition in conditions.items():
            _console.print(f"round {number + 1} of {rounds}: cost, {stack.name}, {name}")
            stack.settle()
            with condition(stack), closing(http.client.HTTPConnection("127.0.0.1", stack.port, timeout=60)) as client:
                for size, pairs in _PAIRS.items():
                    kind = f"{size // 1024} KiB, {name}"
                    gets = compare(partial(_get, client, stored[size]), pairs, *get)
                    report.add(f"one event, {stack.name}", f"GET {kind}", gets)
                    if condition is not all_down_and_no_row:  # an artifact's own row would not be taken either
                        puts = compare(partial(_put, client, size), pairs, *put)
                        report.add(f"one event, {stack.name}", f"PUT {kind}", puts)


@contextmanager
def all_up(stack: Ours) -> Iterator[None]:
    """As it should be."""
    yield


@contextmanager
def all_down(stack: Ours) -> Iterator[None]:
    """No NATS, no worker, no beat, and a broker whose folder is a file."""
    broker = stack.folder / "broker"
    with stopped([stack.processes[name] for name in ("worker", "beat", "maintenance")]):
        stack.nats.stop()
        shutil.move(broker, stack.folder / "broker-aside")
        broker.touch()
        try:
            yield
        finally:
            broker.unlink()
            shutil.move(stack.folder / "broker-aside", broker)
            stack.nats.start()


@contextmanager
def all_down_and_no_row(stack: Ours) -> Iterator[None]:
    """The same, and the trail is locked: rows can be read, and none written."""
    with ExitStack() as locks:
        # Before the worker stands still, which may be in the middle of a claim.
        if stack.postgres:
            server = locks.enter_context(psycopg.connect(stack.postgres.url))
            server.execute("LOCK TABLE audit_auditevent IN EXCLUSIVE MODE")
        else:
            file = locks.enter_context(closing(sqlite3.connect(stack.folder / "cas.sqlite3", timeout=30)))
            file.execute("BEGIN IMMEDIATE")
        with all_down(stack):
            yield
            locks.close()


def compare(transfer: Callable[[_T], float], pairs: int, with_one: _T, with_none: _T) -> dict[str, float]:
    """What so many pairs take with an event and without, in turn; `transfer` makes one and returns its seconds.

    The cost is the median of the pairs' differences: a disk that is slow for a while is slow for both of a pair.
    """
    taken: list[tuple[float, float]] = []
    for number in range(pairs):
        if number % 2:
            taken.append((transfer(with_one), transfer(with_none)))
        else:
            taken.append((transfer(with_none), transfer(with_one))[::-1])
    with_event, without = (statistics.median(seconds) * 1000 for seconds in zip(*taken, strict=True))
    cost = statistics.median(audited - plain for audited, plain in taken) * 1000
    return {"ms, with": with_event, "ms, without": without, "cost, ms": cost, "cost, %": cost / without * 100}


def _get(client: http.client.HTTPConnection, content: bytes, headers: Headers) -> float:
    """Seconds of a download."""
    seconds, body = _ask(client, "GET", content, None, headers)
    if len(body) != len(content):
        raise LoadError(f"{len(body)} of {len(content)} bytes came")
    return seconds


def _put(client: http.client.HTTPConnection, size: int, headers: Headers) -> float:
    """Seconds of an upload of new content."""
    content = os.urandom(size)
    return _ask(client, "PUT", content, content, headers)[0]


def _ask(
    client: http.client.HTTPConnection, method: str, content: bytes, body: bytes | None, headers: Headers
) -> tuple[float, bytes]:
    path = f"{Ours.path}{sha256(content).hexdigest()}"
    started = time.perf_counter()
    client.request(method, path, body, dict(headers))
    answer = client.getresponse()
    received = answer.read()
    seconds = time.perf_counter() - started
    if answer.status not in {200, 201}:
        raise LoadError(f"{method} {path}: {answer.status} {received[:200]!r}")
    return seconds, received
