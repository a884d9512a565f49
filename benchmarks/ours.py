"""Artifact CAS as a peer: what the Procfile names, a real nats-server, audited, on SQLite or PostgreSQL."""

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psycopg
import requests
from honcho.environ import parse_procfile

from benchmarks.load import LoadError
from benchmarks.peers import Peer
from devstack.environment import PROJECT
from tests.servers import BIN, NatsServer, PostgresServer, wait_until

_PENDING = "SELECT count(*) FROM audit_auditevent WHERE state = 'pending'"
_ANY_PENDING = "SELECT count(*) FROM (SELECT 1 FROM audit_auditevent WHERE state = 'pending' LIMIT 1) AS found"
_LAST_ACK_POSTGRESQL = "SELECT (extract(epoch FROM max(published_at)) * 1000000)::bigint FROM audit_auditevent"
_LAST_ACK_SQLITE = "SELECT (julianday(max(published_at)) - 2440587.5) * 86400000000.0 FROM audit_auditevent"
_SETTLE_SECONDS = 300
_QUIET_SECONDS = 0.5  # without a new event, and the last one is there
_CONNECTIONS = 300  # a web worker's threads have one each


def _commands() -> dict[str, str]:
    processes: dict[str, str] = parse_procfile((PROJECT / "Procfile").read_text()).processes
    return processes


class Ours(Peer):
    """The whole stack. The folder is its CAS_DATA_DIR."""

    path = "/artifacts/sha256:"

    def __init__(self, folder: Path, database: str) -> None:
        super().__init__(folder)
        self.name = "ours, PostgreSQL" if database == "postgresql" else "ours, SQLite"
        self.postgres: PostgresServer | None = None
        self.nats = NatsServer(folder / "nats")
        self._database = database
        self.environment: dict[str, str] = {}

    def start(self) -> None:
        self.folder.mkdir(parents=True)
        self.nats.start()
        self.environment = self._make_environment()
        if self._database == "postgresql":
            self.postgres = PostgresServer("-c", "fsync=on", "-c", f"max_connections={_CONNECTIONS}")
            self.postgres.start()
            self.environment["DATABASE_URL"] = self.postgres.url
        self.environment |= dict(line.split("=", 1) for line in self.manage("make_keys").splitlines())
        self.manage("migrate", "--verbosity", "0")
        self.manage("create_location", "default", "--folder", str(self.folder / "artifacts"))
        self.manage("audit_stream", "create")
        self.put_headers = self._authorization("uploader")
        self.get_headers = self._authorization("downloader")
        for name in _commands():
            self.spawn(name)
        wait_until(self._is_ready, 30, f"{self.name} is ready; see the logs in {self.folder}")

    def spawn(self, name: str, number: int = 1) -> None:
        """Start a process of the Procfile, or a further one of its kind."""
        command = _commands()[name]
        self._spawn(name if number == 1 else f"{name}-{number}", ["/bin/sh", "-c", command], **self.environment)

    def _make_environment(self) -> dict[str, str]:
        for name in [name for name in os.environ if name.startswith(("CAS_", "NATS_", "CELERY_", "DATABASE_"))]:
            del os.environ[name]  # of a developer's own stack
        return {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "DJANGO_SETTINGS_MODULE": "casproject.settings",
            "CAS_DATA_DIR": str(self.folder),
            "CAS_PORT": str(self.port),
            "CAS_SECURE_COOKIES": "false",
            "NATS_URL": self.nats.url,
        }

    def _authorization(self, role: str, *claims: str) -> dict[str, str]:
        token = self.manage("mint_token", "--role", role, "--expires-in", "7d", *claims).strip()
        return {"Authorization": f"Bearer {token}"}

    def unaudited(self, role: str) -> dict[str, str]:
        """Headers of a transfer that makes no event."""
        return self._authorization(role, "--source-internal")

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).ok
        except requests.RequestException:
            return False

    def manage(self, *arguments: str) -> str:
        """What a manage.py command prints."""
        return self.python(str(PROJECT / "manage.py"), *arguments)

    def python(self, *arguments: str) -> str:
        """What Python prints, given these arguments and this stack's environment."""
        done = subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, **self.environment},
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LoadError(f"python {' '.join(arguments[:2])}: {done.stderr}")
        return done.stdout

    @property
    def roots(self) -> list[int]:
        others = [self.nats.process.pid, *([self.postgres.process.pid] if self.postgres else [])]
        return [*super().roots, *others]

    def file_of(self, hexdigest: str) -> Path:
        return self.folder / "artifacts" / "sha256" / hexdigest[:2] / hexdigest

    def stop(self) -> None:
        super().stop()
        self.nats.stop()
        if self.postgres:
            self.postgres.stop()

    def settle(self) -> None:
        """Wait until every event is recorded, which can come after its answer, and published."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        events = -1
        while events != (events := self.events()) or self._query(_PENDING):
            if time.monotonic() > deadline:
                raise LoadError(f"{self.name}: some events were not published within {_SETTLE_SECONDS} s.")
            time.sleep(_QUIET_SECONDS)

    def events(self) -> int:
        """How many the trail has."""
        return self._query("SELECT count(*) FROM audit_auditevent")

    def wait_until_published(self) -> float:
        """Return once no event waits: the time, in seconds since the epoch, at which the last one was acknowledged."""
        wait_until(lambda: not self._query(_ANY_PENDING), _SETTLE_SECONDS, "all events are published")
        return self._query(_LAST_ACK_POSTGRESQL if self.postgres else _LAST_ACK_SQLITE) / 1e6

    def _query(self, query: str) -> int:
        if self.postgres:
            with psycopg.connect(self.postgres.url) as server:
                row = server.execute(query).fetchone()
        else:
            with closing(sqlite3.connect(self.folder / "cas.sqlite3", timeout=30)) as file:
                row = file.execute(query).fetchone()
        return int(row[0]) if row else 0
