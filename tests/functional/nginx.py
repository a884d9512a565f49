"""nginx in front of a live stack, with the configuration that is shipped."""

import datetime
import os
import shutil
import signal
import ssl
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from devstack.environment import PROJECT
from tests.functional.stack import SECONDS, LiveStack, RawRequest
from tests.servers import accepts, free_port, wait_until
from tests.wanting import skip_without

SHIPPED = PROJECT / "deploy" / "nginx" / "artifact-cas.conf"

# What a distribution's nginx.conf has around conf.d, over folders of the test's own. With levels, a file that was put
# on disk leaves a folder behind, though nginx unlinks the file itself at once.
_MAIN = """
daemon off;
{user}
worker_processes 2;
pid {folder}/pid;
error_log {folder}/nginx.log;
events {{ worker_connections 512; }}
http {{
    client_body_temp_path {folder}/spooled/body 1 2;
    proxy_temp_path {folder}/spooled/proxy 1 2;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    gzip on;
    gzip_types *;
    include {folder}/artifact-cas.conf;
}}
"""


def find_nginx() -> str:
    """The program. On CI its absence is a failure; elsewhere the test is skipped."""
    found = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if found is None:
        skip_without("nginx (Debian's package nginx)")
    return found


class Nginx:
    """The shipped file but for addresses, certificate and host name, and what a test changes on purpose."""

    def __init__(self, folder: Path, stack: LiveStack, changes: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.port, self.plain_port = free_port(), free_port()
        self.url = f"https://localhost:{self.port}"
        self._program = find_nginx()
        self._process: subprocess.Popen[bytes] | None = None
        _make_certificate(folder)
        self.certificate = folder / "artifact-cas.crt"
        self.tls = ssl.create_default_context(cafile=self.certificate)
        addresses = {
            "server 127.0.0.1:8000;": f"server 127.0.0.1:{stack.port};",
            "listen 80;": f"listen 127.0.0.1:{self.plain_port};",
            "listen 443 ssl;": f"listen 127.0.0.1:{self.port} ssl;",
            "cas.example.com": "localhost",
            "/etc/nginx/": f"{folder}/",
            "/var/log/nginx/": f"{folder}/",
        }
        text = SHIPPED.read_text()
        for shipped, ours in (addresses | (changes or {})).items():
            assert shipped in text
            text = text.replace(shipped, ours)
        (folder / "artifact-cas.conf").write_text(text)
        (folder / "spooled").mkdir()
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, user=user))

    def check(self) -> str:
        """What `nginx -t` says; it must be content."""
        done = subprocess.run(self._command("-t"), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def start(self) -> None:
        self.check()
        with (self.folder / "nginx.log").open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log)
        wait_until(lambda: accepts(self.port), what="nginx listens")

    def change(self, before: str, after: str) -> None:
        """Have it go by a changed configuration; requests under way end by the one that they began with."""
        assert self._process is not None, "nginx was not started"
        path = self.folder / "artifact-cas.conf"
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))
        self.check()
        old = self._workers()
        self._process.send_signal(signal.SIGHUP)  # as `nginx -s reload` does
        wait_until(lambda: self._workers() - old, SECONDS, "nginx has new workers")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(SECONDS)

    def spooled(self) -> list[Path]:
        """Traces of bodies and answers that nginx put on disk."""
        return [path for folder in ("body", "proxy") for path in (self.folder / "spooled" / folder).rglob("*")]

    def logs(self) -> str:
        return "".join(path.read_text() for path in self.folder.glob("*.log"))

    def request(self, line: str, headers: dict[str, str]) -> RawRequest:
        """A request by hand, of which the test sends and reads what it likes."""
        return RawRequest(self.port, f"{line} HTTP/1.1", {"Host": "localhost", **headers}, self.tls)

    def _workers(self) -> set[str]:
        assert self._process is not None
        return set(subprocess.check_output(["pgrep", "-P", str(self._process.pid)], text=True).split())

    def _command(self, *arguments: str) -> list[str]:
        return [self._program, "-c", str(self.folder / "nginx.conf"), "-p", str(self.folder), *arguments]


def _make_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    (folder / "artifact-cas.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "artifact-cas.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
