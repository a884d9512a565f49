"""Where the time of one 4 KiB request goes: probes in the WSGI application, called without a server.

`measure` runs this module in a stack's environment, then asks the stack's own server, for what HTTP adds.
"""

import http.client
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from io import BytesIO
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.ours import Ours
from benchmarks.probes import Probes, Spent
from benchmarks.report import Report

REQUESTS = 500
_WARM_UP = 50
_SIZE = 4096

# By label; a name that is no more is reported as such.
FUNCTIONS = {
    "authenticate": ("artifacts.authentication.BearerAuthentication.authenticate",),
    "permission": ("artifacts.permissions.RoleAllows.has_permission",),
    "slot": ("artifacts.views.ArtifactAPIView.take_slot", "artifacts.admission.Slot.release"),
    "location lookup": ("artifacts.services.find_location",),
    "label lookup, upsert": ("artifacts.labels.find", "artifacts.labels.put"),
    "open store": ("artifacts.services.open_store",),
    "headers": ("artifacts.views.download_headers",),
    "file name, range": ("artifacts.views.parse_file_name", "artifacts.views.parse_range"),
    "storage, Python": (
        "artifacts.storage.filesystem.FileSystemStore.stat",
        "artifacts.storage.filesystem.FileSystemStore.check",
        "artifacts.storage.filesystem.FileSystemStore.stage",
        "artifacts.storage.filesystem.FileSystemStore.open",
        "artifacts.storage.filesystem._StagedFile.write",
        "artifacts.storage.filesystem._StagedFile.place",
        "artifacts.storage.filesystem._StagedFile.discard",
    ),
    "fsync": ("os.fsync",),
    "other file calls": (
        *("os.stat", "os.open", "os.close", "os.write", "os.lseek", "os.link", "os.mkdir", "os.unlink", "os.replace"),
        "builtins.open",
    ),
    "signals": ("django.dispatch.Signal.send", "django.dispatch.Signal.send_robust"),
    "audit event, Python": ("audit.receivers.record",),
    "audit event, payload": ("audit.events.Event.payload",),
    "audit row": ("audit.receivers.row_of",),
    "write-ahead log": ("audit.write_ahead.WriteAheadLog.append",),
    "group commit, waited for": ("common.group_commit.GroupCommit.write", "common.group_commit.Ticket.wait"),
    "nudge": ("audit.nudge.Nudger.wake",),
    "SQL": ("common.prepared.Statement.run",),
    "URL": ("django.urls.resolvers.URLResolver.resolve",),
    "DRF dispatch": ("rest_framework.views.APIView.dispatch",),
    "DRF request, checks": (
        *("artifacts.views.ArtifactAPIView.initialize_request", "artifacts.views.ArtifactAPIView.initial"),
        "artifacts.views.ArtifactAPIView.finalize_response",
    ),
    "the view": ("artifacts.views.ArtifactView.get", "artifacts.views.ArtifactView.put"),
    "services": ("artifacts.services.upload", "artifacts.services.find", "artifacts.services.read"),
    "exchange": (
        "casproject.observability.exchange.Exchange.__init__",
        "casproject.observability.exchange.Exchange.end",
    ),
}
_TOTAL = "Django, the rest"


def measure(stack: Ours, report: Report) -> None:
    """Print the tables of this stack's GET and PUT. The publisher, which shares the cores, rests meanwhile."""
    worker = stack.processes["worker"]
    worker.send_signal(signal.SIGSTOP)
    try:
        arguments = [str(stack.port), stack.get_headers["Authorization"], stack.put_headers["Authorization"]]
        methods: dict[str, dict[str, Any]] = json.loads(stack.python("-m", "benchmarks.breakdown", *arguments))
    finally:
        worker.send_signal(signal.SIGCONT)
    for method, figures in methods.items():
        report.details[f"breakdown, {method}, {stack.name}"] = figures
        Console().print(_table(f"4 KiB {method}, {stack.name}, one at a time: microseconds", figures))
        if figures["missing"]:
            Console().print("Not found, so part of what called them:", ", ".join(figures["missing"]))


def _table(title: str, figures: dict[str, Any]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in ("", "own time", "share", "own CPU", "calls"):
        table.add_column(column, justify="right" if column else "left")
    probed, plain, served = figures["probed"], figures["plain"], figures["served"]
    labels = sorted(figures["labels"].items(), key=lambda item: -item[1]["time"])
    for label, spent in labels:
        share = f"{spent['time'] / probed:.0%}"
        table.add_row(label, f"{spent['time']:.0f}", share, f"{spent['cpu']:.0f}", f"{spent['calls']:.1f}")
    table.add_section()
    cpu = sum(spent["cpu"] for _, spent in labels)
    table.add_row("in the application, with probes", f"{probed:.0f}", "", f"{cpu:.0f}")
    table.add_row("in the application, without", f"{plain:.0f}")
    table.add_row("through the server", f"{served:.0f}")
    table.add_row("server, network, client", f"{served - plain:.0f}")
    return table


def _main() -> None:
    port, get_token, put_token = sys.argv[1:]
    from casproject.wsgi import application  # noqa: PLC0415  (sets Django up)

    probes = _install()
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=30)
    stored = os.urandom(_SIZE)
    _call(application, "PUT", put_token, stored)
    results = {}
    for method, token in (("GET", get_token), ("PUT", put_token)):
        results[method] = _measure_method(
            probes,
            partial(_call, application, method, token),
            partial(_ask, connection, method, token),
            (lambda: stored) if method == "GET" else (lambda: os.urandom(_SIZE)),
        )
    print(json.dumps(results))


def _measure_method(
    probes: Probes, call: Callable[[bytes], None], ask: Callable[[bytes], None], content: Callable[[], bytes]
) -> dict[str, Any]:
    """Means over the faster half of the requests, the three ways taking turns."""
    taken: dict[str, list[float]] = {"served": [], "plain": [], "probed": []}
    ways = [("served", ask), ("plain", call), ("probed", probes.wrap(_TOTAL, call))]
    probed = []
    for number in range(_WARM_UP + REQUESTS):
        for way, work in [*ways[number % 3 :], *ways[: number % 3]]:  # the first after a pause is the slowest
            probes.is_on = way == "probed"
            taken[way].append(_time(work, content()))
            probes.is_on = False
        probed.append((taken["probed"][-1], probes.take()))
    faster = sorted(probed[_WARM_UP:], key=lambda one: one[0])[: REQUESTS // 2]
    return {
        **{way: _mean_of_faster(seconds) for way, seconds in taken.items()},
        "labels": _means([spent for _, spent in faster]),
        "missing": probes.missing,
    }


def _means(requests: list[dict[str, Spent]]) -> dict[str, dict[str, float]]:
    """What one request spends on average, in microseconds, by label."""
    none = Spent()
    return {
        label: {
            "time": statistics.mean(spent.get(label, none).seconds for spent in requests) * 1e6,
            "cpu": statistics.mean(spent.get(label, none).cpu for spent in requests) * 1e6,
            "calls": statistics.mean(spent.get(label, none).calls for spent in requests),
        }
        for label in {label for spent in requests for label in spent}
    }


def _time(work: Callable[[bytes], None], content: bytes) -> float:
    started = time.perf_counter()
    work(content)
    return time.perf_counter() - started


def _mean_of_faster(taken: list[float]) -> float:
    return statistics.mean(sorted(taken[_WARM_UP:])[: REQUESTS // 2]) * 1e6


def _ask(connection: http.client.HTTPConnection, method: str, token: str, content: bytes) -> None:
    path = f"/artifacts/sha256:{sha256(content).hexdigest()}"
    connection.request(method, path, content if method == "PUT" else None, {"Authorization": token})
    answer = connection.getresponse()
    answer.read()
    assert answer.status in {200, 201}, answer.status  # noqa: S101


def _call(application: Any, method: str, token: str, body: bytes) -> None:
    sent = body if method == "PUT" else b""
    environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": f"/artifacts/sha256:{sha256(body).hexdigest()}",
        "QUERY_STRING": "",
        "CONTENT_LENGTH": str(len(sent)),
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_AUTHORIZATION": token,
        "wsgi.input": BytesIO(sent),
        "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.version": (1, 0),
    }
    statuses: list[str] = []
    answer = application(environ, lambda status, fields: statuses.append(status))
    size = sum(len(block) for block in answer)
    if hasattr(answer, "close"):
        answer.close()
    assert statuses[0][:3] in {"200", "201"}, statuses  # noqa: S101
    assert method == "PUT" or size == _SIZE, size  # noqa: S101


def _install() -> Probes:
    from django.conf import settings  # noqa: PLC0415  (before it is set up, there are none)

    probes = Probes()
    for label, names in FUNCTIONS.items():
        for name in names:
            probes.install(label, name)
    for name in settings.MIDDLEWARE:
        probes.install(f"middleware {name.rpartition('.')[2].removesuffix('Middleware')}", f"{name}.__call__")
    probes.install_hash("SHA-256")
    return probes


if __name__ == "__main__":
    _main()
