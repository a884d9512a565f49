"""The real thing: NATS, web server, worker and beat as processes, over a folder of their own. No mocks here."""

import atexit
import json
import os
import shlex
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import uuid
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import requests
from honcho.environ import parse_procfile

from artifacts.tokens import DOWNLOADER, UPLOADER
from devstack.environment import PROJECT
from tests.factories import digest_of, make_token
from tests.servers import BIN, NatsServer, free_port, wait_until

SECONDS = 90  # more than a machine with other work needs

# Commands of manage.py, without starting Python for each.
_SEVERAL = """
import json, sys
import django
from django.core.management import call_command
django.setup()
for command in json.loads(sys.argv[1]):
    call_command(*command)
"""


class LiveStack:
    """Starts what the Procfile names, one process each, so that a test can stop, freeze or kill any of them."""

    def __init__(self, folder: Path, nats: NatsServer | None, **environment: str) -> None:
        self.folder = folder
        self.nats = nats
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._commands = parse_procfile((PROJECT / "Procfile").read_text()).processes
        self.environment = {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "DJANGO_SETTINGS_MODULE": "casproject.settings",
            "CAS_DATA_DIR": str(folder),
            "CAS_PORT": str(self.port),
            "CAS_SWEEP_SECONDS": "1",
            "CAS_SECURE_COOKIES": "false",
            "NATS_URL": nats.url if nats else "",
            "PYTHONWARNINGS": "ignore",
            **environment,
        }
        for name in ("CAS_SECRET_KEY", "CAS_TOKEN_KEYS", "CAS_CREDENTIAL_KEYS"):
            self.environment.pop(name, None)

    def prepare(self) -> None:
        """Keys, database, location, stream."""
        template, made = prepared()
        shutil.copytree(template, self.folder, dirs_exist_ok=True)
        self.environment |= {name: value.replace(str(template), str(self.folder)) for name, value in made.items()}
        commands = [["create_location", "default", "--folder", str(self.root)]]
        if self.environment.get("DATABASE_URL"):
            commands.insert(0, ["migrate", "--verbosity", "0"])
        if self.nats:
            self.nats.start()
            commands.append(["audit_stream", "create"])
        self._run([sys.executable, "-c", _SEVERAL, json.dumps(commands)])

    @property
    def root(self) -> Path:
        return self.folder / "artifacts"

    @property
    def private_key(self) -> str:
        return (self.folder / "keys" / "token-private.pem").read_text()

    def leader(self, name: str) -> int:
        """The first process of what the Procfile names."""
        return self._processes[name].pid

    def start(self, *names: str) -> None:
        """Start these processes, or all."""
        for name in names or self._commands:
            with (self.folder / f"{name}.log").open("ab") as log:
                self._processes[name] = subprocess.Popen(
                    ["/bin/sh", "-c", self._commands[name]],
                    env=self.environment,
                    cwd=PROJECT,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        if "web" in (names or self._commands):
            wait_until(self._answers, SECONDS, "the web server is ready")

    def add(self, name: str, of: str, *arguments: str, **environment: str) -> None:
        """Another process of the Procfile's, with more arguments, in an environment of its own."""
        exports = "".join(f"export {key}={shlex.quote(value)}; " for key, value in environment.items())
        self._commands[name] = f"{exports}{self._commands[of]} {shlex.join(arguments)}"

    def run_web_by(self, module: str) -> None:
        """Let the web server, from its next start on, be started by this Python module."""
        arguments = self._commands["web"].partition("-m ")[2].partition(" ")[2]
        self._commands["web"] = f"exec python -m {module} {arguments}"

    def limit_files(self, name: str, blocks: int) -> None:
        """Let a process, from its next start on, write no file larger than so many blocks of 512 bytes."""
        self._commands[name] = f"ulimit -f {blocks}; {self._commands[name]}"

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process and all it started."""
        os.killpg(self._processes[name].pid, number)

    def kill(self, name: str) -> None:
        """kill -9, children too."""
        self.signal(name, signal.SIGKILL)
        self._processes.pop(name).wait()

    def retire(self, name: str) -> int:
        """SIGTERM to the first process alone, as systemd, Docker and Kubernetes send it; its exit status."""
        process = self._processes.pop(name)
        process.terminate()
        return process.wait(3 * SECONDS)

    def end(self, *names: str) -> None:
        """Ask these processes to end, or all, and wait until they have."""
        ended = [self._processes.pop(name) for name in names or list(self._processes) if name in self._processes]
        for process in ended:
            os.killpg(process.pid, signal.SIGTERM)
        for process in ended:
            process.wait(SECONDS)

    def stop(self) -> None:
        self.end()
        if self.nats:
            self.nats.stop()

    def manage(self, *arguments: str) -> str:
        """What a manage.py command prints."""
        return self._run([sys.executable, str(PROJECT / "manage.py"), *arguments])

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(command, env=self.environment, cwd=PROJECT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def rows(self, organization: str) -> list[dict[str, Any]]:
        """The organization's rows of the trail, oldest first."""
        with sqlite3.connect(self.folder / "cas.sqlite3") as database:
            database.row_factory = sqlite3.Row
            query = "SELECT * FROM audit_auditevent WHERE org_id = ? ORDER BY id"
            return [dict(row) for row in database.execute(query, [uuid.UUID(organization).hex])]

    def stream(self, organization: str) -> list[dict[str, Any]]:
        """The organization's messages in the stream, in its order."""
        return [json.loads(line) for line in self.manage("audit_stream", "read", "--org", organization).splitlines()]

    def incoming(self) -> list[Path]:
        """What uploads have left behind, or are writing."""
        return list((self.root / ".incoming").glob("*"))

    def path_of(self, content: bytes) -> Path:
        """Where this content is stored, if it is."""
        hexdigest = digest_of(content).hex
        return self.root / "sha256" / hexdigest[:2] / hexdigest

    def running(self) -> list[str]:
        """The names of the processes that were started and not ended."""
        return list(self._processes)

    def processes(self, name: str) -> list[str]:
        """The ids of a process and all it started."""
        return subprocess.check_output(["pgrep", "-g", str(self._processes[name].pid)], text=True).split()

    def web_memory(self) -> int:
        """Peak resident bytes of the largest web process."""
        peaks = [Path(f"/proc/{pid}/status").read_text() for pid in self.processes("web")]
        return max(int(peak.split("VmHWM:")[1].split()[0]) * 1024 for peak in peaks)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).ok
        except requests.RequestException:
            return False


@cache
def prepared() -> tuple[Path, dict[str, str]]:
    """Keys, their settings, and a migrated SQLite database: made once, and copied for each stack."""
    folder = Path(tempfile.mkdtemp(prefix="cas-stack-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    stack = LiveStack(folder, None)
    stack.environment.pop("DATABASE_URL", None)
    made = dict(line.split("=", 1) for line in stack.manage("make_keys").splitlines())
    stack.environment |= made
    stack.manage("migrate", "--verbosity", "0")
    return folder, made


def waiting_files(folder: Path, *, are_all: bool = True) -> list[Path]:
    """What waits for the database outside of the trail; the write-ahead log never rests while clients go on."""
    ahead = [path for path in folder.glob("write-ahead/*.log") if _size(path)] if are_all else []
    return [*folder.glob("journal/*.json"), *ahead]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@dataclass
class Tenant:
    """One organization's client of a live stack; each test has its own, so that tests do not see each other's."""

    stack: LiveStack
    organization: str = field(default_factory=lambda: str(uuid.uuid4()))
    claims: dict[str, Any] = field(default_factory=dict)

    def headers(self, role: str) -> dict[str, str]:
        claims = {"org-id": self.organization, **self.claims}
        return {"Authorization": f"Bearer {make_token(role, key=self.stack.private_key, **claims)}"}

    def put(self, content: bytes, file_name: str = "") -> requests.Response:
        url = f"{self.stack.url}/artifacts/{digest_of(content)}"
        params = {"filename": file_name} if file_name else {}
        return requests.put(url, content, params=params, headers=self.headers(UPLOADER), timeout=SECONDS)

    def get(self, content: bytes, **headers: str) -> requests.Response:
        url = f"{self.stack.url}/artifacts/{digest_of(content)}"
        return requests.get(url, headers={**self.headers(DOWNLOADER), **headers}, timeout=SECONDS)

    def open_download(self, content: bytes) -> "RawRequest":
        """Ask for an artifact, and leave the reading to the test."""
        fields = {"Host": "127.0.0.1", **self.headers(DOWNLOADER)}
        return RawRequest(self.stack.port, f"GET /artifacts/{digest_of(content)} HTTP/1.1", fields)

    def open_upload(self, path: str, method: str = "PUT", **headers: str) -> "RawRequest":
        """Send a request's head, and leave its body to the test."""
        fields = {"Host": "127.0.0.1", **self.headers(UPLOADER), **{k.replace("_", "-"): v for k, v in headers.items()}}
        return RawRequest(self.stack.port, f"{method} {path} HTTP/1.1", fields)

    def stall_upload(self) -> "tuple[RawRequest, bool]":
        """An upload without its body, and whether the server waits for that; else it was refused."""
        path = f"/artifacts/{digest_of(b'another')}"
        upload = self.open_upload(path, Content_Length="7", Expect="100-continue")
        return upload, upload.peek(SECONDS).startswith(b"HTTP/1.1 100")

    def admitted(self) -> int:
        """How many uploads the server would take of this organization now; each is begun, and over on return."""
        taken: list[RawRequest] = []
        upload, is_taken = self.stall_upload()
        while is_taken:
            taken.append(upload)
            upload, is_taken = self.stall_upload()
        assert upload.answer().status == 503
        upload.leave()
        for upload in taken:
            upload.send(b"7 bytes")
            assert upload.answer().status == 422  # by now its slot is free
            upload.leave()
        return len(taken)

    def rows(self) -> list[dict[str, Any]]:
        """Those of the trail, once no file has any for it: a commit of over a second goes the long way."""
        if any(name.startswith(("web", "worker")) for name in self.stack.running()):
            wait_until(lambda: not waiting_files(self.stack.folder), SECONDS, "the files are taken in")
        return self.stack.rows(self.organization)

    def wait_for_published(self, count: int, seconds: float = SECONDS) -> list[dict[str, Any]]:
        """The rows, once this many are there and all are published."""

        def is_done() -> bool:
            rows = self.rows()
            return len(rows) == count and all(row["state"] == "published" for row in rows)

        wait_until(is_done, seconds, f"{count} rows are published")
        return self.rows()


class RawRequest:
    """A request by hand, for what well-behaved clients do not do."""

    def __init__(self, port: int, line: str, headers: dict[str, str], tls: ssl.SSLContext | None = None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        if tls:
            self._socket = tls.wrap_socket(self._socket, server_hostname="localhost")
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._socket.sendall(f"{line}\r\n{fields}\r\n".encode())

    def __enter__(self) -> "RawRequest":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def send_chunk(self, data: bytes) -> None:
        self._socket.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def peek(self, seconds: float) -> bytes:
        """What has arrived, without taking it; b"" when nothing does in time."""
        self._socket.settimeout(seconds)
        try:
            return self._socket.recv(4096, socket.MSG_PEEK)
        except TimeoutError:
            return b""
        finally:
            self._socket.settimeout(SECONDS)

    def receive(self, size: int) -> bytes:
        return self._socket.recv(size)

    def answer(self) -> HTTPResponse:
        """Read the answer's head; a `100 Continue` is passed over."""
        response = HTTPResponse(self._socket)
        response.begin()
        return response

    def leave(self) -> None:
        """Go without a word, as a client that crashed."""
        self._socket.close()
