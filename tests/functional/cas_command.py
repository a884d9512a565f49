"""The client's command as a process, and things it may meet on its way: a line that is cut, a server that lies."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from artifacts.tokens import DOWNLOADER, UPLOADER
from devstack.environment import PROJECT
from tests.functional.stack import SECONDS, Tenant

SOURCE = PROJECT / "clients" / "python" / "src"


def token(tenant: Tenant, role: str) -> str:
    return tenant.headers(role)["Authorization"].removeprefix("Bearer ")


class Cas:
    """Runs `cas` in a folder of its own, with a tenant's tokens."""

    def __init__(self, tenant: Tenant, folder: Path) -> None:
        self.folder = folder
        self.url = tenant.stack.url
        self.cache = folder / "cache"
        self.tokens = {role: token(tenant, role) for role in (UPLOADER, DOWNLOADER)}
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("CAS_")} | {
            "PYTHONPATH": str(SOURCE),
            "PYTHONWARNINGS": "error",
            "XDG_CACHE_HOME": str(self.cache),
        }

    def start(self, command: str, *arguments: "str | Path", **streams: Any) -> "subprocess.Popen[bytes]":
        role = DOWNLOADER if command == "download" else UPLOADER
        return subprocess.Popen(
            [sys.executable, "-m", "artifact_cas_client", command, *map(str, arguments)],
            env={"CAS_SERVER": self.url, "CAS_TOKEN": self.tokens[role], **self.environment},
            cwd=self.folder,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
        )

    def run(self, command: str, *arguments: "str | Path", stdin: bytes = b"") -> "Done":
        process = self.start(command, *arguments, stdin=subprocess.PIPE)
        return Done(process, *process.communicate(stdin, timeout=2 * SECONDS))

    def parts(self) -> list[Path]:
        """Downloads that are not whole."""
        return list(self.folder.glob(".cas-*.part"))

    def remembered(self) -> list[Path]:
        """Uploads that can be resumed."""
        return list(self.cache.glob("artifact-cas/*"))


class Done:
    """A command that has ended."""

    def __init__(self, process: "subprocess.Popen[bytes]", out: bytes, err: bytes) -> None:
        self.code = process.returncode
        self.bytes = out
        self.err = err.decode()
        assert "Traceback" not in self.err, self.err

    @property
    def out(self) -> str:
        return self.bytes.decode()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What `--json` printed."""
        return [json.loads(line) for line in self.out.splitlines()]


class Line:
    """A TCP line to a server. Each connection in turn is cut after that many bytes of one way; later ones are not.

    Or it `stalls` there, until `go_on` is set.
    """

    def __init__(
        self, port: int, *, up: list[int] | None = None, down: list[int] | None = None, stalls: bool = False
    ) -> None:
        self._target = port
        self._stalls = stalls
        self.go_on = threading.Event()
        self._limits = {"up": up or [], "down": down or []}
        self.carried = {"up": 0, "down": 0}
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(SECONDS)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=[client], daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        limits = {way: left.pop(0) if left else sys.maxsize for way, left in self._limits.items()}
        self.connections += 1
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            ends = [(client, server, "up"), (server, client, "down")]
            threads = [threading.Thread(target=self._pump, args=[*end, limits[end[2]]]) for end in ends]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def _pump(self, source: socket.socket, sink: socket.socket, way: str, limit: int) -> None:
        with suppress(OSError):
            while limit and (block := source.recv(min(65536, limit))):
                sink.sendall(block)
                self.carried[way] += len(block)
                limit -= len(block)
            if not limit and self._stalls:
                self.go_on.wait(SECONDS)
            if not limit:
                source.shutdown(socket.SHUT_RDWR)
            sink.shutdown(socket.SHUT_RDWR if not limit else socket.SHUT_WR)


@contextmanager
def lying_server(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, list[str]]]:
    """A server that answers as the test says, whatever is asked; gives its address and the requests it has had."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if self.raw_requestline and self.parse_request():
                requests.append(f"{self.command} {self.path}")
                answer(self)
            self.close_connection = True

        def handle_expect_100(self) -> bool:
            return True  # `answer` decides

        def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002 -- its name in the base class

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        thread.join(SECONDS)
        server.server_close()


def answer_with(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    """An answer as any server would send it; a body shorter than its `Content_Length` is cut off."""
    handler.send_response(status)
    for name, value in {
        "Content-Length": str(len(body)),
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)
