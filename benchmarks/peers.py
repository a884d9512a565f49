"""Servers that store what they are sent: how each is started, and how it wants to be asked."""

import http.client
import os
import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from benchmarks.load import LoadError, Rate, Smalls, Source, Transfer, curl, wrk_get, wrk_put
from tests.servers import accepts, free_port, wait_until


class Peer(ABC):
    """One server over a folder of its own. `path` is an object's, without its digest."""

    name: str
    path: str
    put_kind = "put"
    put_headers: Mapping[str, str] = {}
    get_headers: Mapping[str, str] = {}

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @abstractmethod
    def start(self) -> None:
        """Start it, and return when it answers."""

    @abstractmethod
    def file_of(self, hexdigest: str) -> Path:
        """Where it keeps an object's bytes."""

    @property
    def roots(self) -> list[int]:
        """The processes that all of its processes descend from."""
        return [process.pid for process in self.processes.values()]

    def stop(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    def settle(self) -> None:  # noqa: B027  (most put nothing off)
        """Wait until it has done what it put off."""

    def upload(self, source: Source, hexdigest: str) -> Transfer:
        return curl(f"{self.url}{self.path}{hexdigest}", self.put_headers, "--upload-file", str(source.path))

    def download(self, hexdigest: str) -> Transfer:
        return curl(f"{self.url}{self.path}{hexdigest}", self.get_headers)

    def put(self, body: bytes) -> None:
        """Store a small object, for later downloads."""
        self._request("PUT", f"{self.path}{sha256(body).hexdigest()}", body)

    def put_many(self, smalls: Smalls, seconds: int) -> Rate:
        return wrk_put(self.url, self.put_headers, self.put_kind, self.path, smalls, seconds)

    def get_many(self, digests: Path, seconds: int) -> Rate:
        return wrk_get(self.url, self.get_headers, self.path, digests, seconds)

    def discard(self, hexdigest: str) -> None:
        """Make room on the disk, behind the server's back."""
        self.file_of(hexdigest).unlink(missing_ok=True)

    def _request(self, method: str, path: str, body: bytes) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, dict(self.put_headers))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status // 100 != 2:
            raise LoadError(f"{self.name}: {method} {path}: {answer.status} {content[:200]!r}")
        return answer

    def _spawn(self, name: str, command: list[str], **environment: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env={**os.environ, **environment}, stdout=log, stderr=log, start_new_session=True
            )


class Distribution(Peer):
    """CNCF Distribution, the registry: an object is a POST, then a PUT to where that answer points."""

    name = "Distribution"
    path = "/v2/benchmark/blobs/"
    put_kind = "distribution"
    program = shutil.which("docker-registry") or shutil.which("registry")
    package = "docker-registry"

    def start(self) -> None:
        assert self.program  # noqa: S101  (the caller looked)
        self.folder.mkdir(parents=True)
        config = self.folder / "config.yml"
        config.write_text(_DISTRIBUTION.format(data=self.folder / "data", port=self.port))
        self._spawn("registry", [self.program, "serve", str(config)], OTEL_TRACES_EXPORTER="none")
        wait_until(lambda: accepts(self.port), what="Distribution listens")

    def file_of(self, hexdigest: str) -> Path:
        blobs = self.folder / "data/docker/registry/v2/blobs/sha256"
        return blobs / hexdigest[:2] / hexdigest / "data"

    def upload(self, source: Source, hexdigest: str) -> Transfer:
        return curl(self._begin(hexdigest), {}, "--request", "PUT", "--upload-file", str(source.path))

    def put(self, body: bytes) -> None:
        url = self._begin(sha256(body).hexdigest())
        self._request("PUT", url.removeprefix(self.url), body)

    def download(self, hexdigest: str) -> Transfer:
        return curl(f"{self.url}{self.path}sha256:{hexdigest}", {})

    def get_many(self, digests: Path, seconds: int) -> Rate:
        return wrk_get(self.url, {}, f"{self.path}sha256:", digests, seconds)

    def head(self, hexdigest: str) -> Transfer:
        return curl(f"{self.url}{self.path}sha256:{hexdigest}", {}, "--head")

    def _begin(self, hexdigest: str) -> str:
        location = self._request("POST", f"{self.path}uploads/", b"").headers["Location"]
        url = location if location.startswith("http") else f"{self.url}{location}"
        return f"{url}{'&' if '?' in url else '?'}digest=sha256:{hexdigest}"


_DISTRIBUTION = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: "{data}"}}
  cache: {{blobdescriptor: inmemory}}
  maintenance: {{uploadpurging: {{enabled: false}}}}
http: {{addr: "127.0.0.1:{port}", relativeurls: true, secret: benchmark}}
"""


class Nginx(Peer):
    """nginx: WebDAV's PUT, sendfile. It neither hashes nor syncs, so it is the ceiling rather than a rival."""

    name = "nginx"
    path = "/"
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    package = "nginx"

    def start(self) -> None:
        assert self.program  # noqa: S101  (the caller looked)
        for folder in ("data", "temp"):
            (self.folder / folder).mkdir(parents=True)
        config = self.folder / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        config.write_text(_NGINX.format(user=user, folder=self.folder, port=self.port))
        self._spawn("nginx", [self.program, "-e", str(self.folder / "error.log"), "-c", str(config)])
        wait_until(lambda: accepts(self.port), what="nginx listens")

    def file_of(self, hexdigest: str) -> Path:
        return self.folder / "data" / hexdigest


_NGINX = """\
{user}
daemon off;
worker_processes auto;
pid "{folder}/nginx.pid";
error_log "{folder}/error.log";
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    client_max_body_size 0;
    client_body_temp_path "{folder}/temp";
    proxy_temp_path "{folder}/temp/proxy";
    fastcgi_temp_path "{folder}/temp/fastcgi";
    uwsgi_temp_path "{folder}/temp/uwsgi";
    scgi_temp_path "{folder}/temp/scgi";
    server {{
        listen 127.0.0.1:{port};
        root "{folder}/data";
        location / {{ dav_methods PUT; }}
    }}
}}
"""
