"""What a development stack is made of: its folder, ports, secrets. `<CAS_DATA_DIR>/development.env` keeps them."""

import os
import secrets
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import environ
import requests

PROJECT = Path(__file__).resolve().parent.parent
ADMIN = "admin"


@dataclass(frozen=True)
class Stack:
    """Where a stack lives and listens."""

    data_dir: Path
    port: int
    nats_port: int

    @classmethod
    def from_environment(cls) -> "Stack":
        """Read CAS_DATA_DIR, CAS_PORT and CAS_NATS_PORT; exit with a message when one is wrong."""
        data_dir = Path(os.environ.get("CAS_DATA_DIR") or PROJECT / "var").absolute()
        return cls(data_dir, _port("CAS_PORT", 8000), _port("CAS_NATS_PORT", 4222))

    @property
    def env_file(self) -> Path:
        return self.data_dir / "development.env"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def nats_url(self) -> str:
        return f"nats://127.0.0.1:{self.nats_port}"

    def is_ready(self) -> bool:
        """Whether its web server answers, and is ready."""
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).ok
        except requests.RequestException:
            return False

    def refuse_taken_ports(self) -> None:
        """Exit with a message when something listens already."""
        for name, port in (("CAS_PORT", self.port), ("CAS_NATS_PORT", self.nats_port)):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    sys.exit(f"Port {port} is taken. Free it, or choose another: {name}={port + 1} make run")

    def prepare(self) -> None:
        """Make the folder, keys and secrets that do not exist yet, and load them into the environment."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        os.environ["CAS_DATA_DIR"] = str(self.data_dir)
        if not self.env_file.exists():
            print("Making development keys and secrets.")
            made = self._make_secrets()
        else:
            made = [line for line in self.env_file.read_text().splitlines() if not line.startswith("NATS_URL=")]
        if not any(line.startswith("CAS_CHECKPOINT_KEY=") for line in made):
            made.append(self._make_checkpoint_key())
        self._write([*made, f"NATS_URL={self.nats_url}"])
        environ.Env.read_env(str(self.env_file))

    def _make_secrets(self) -> list[str]:
        keys = self.data_dir / "keys"
        public_key = keys / "token-public.pem"
        if public_key.exists():  # of a start that was broken off, or whose file was removed: tokens stay valid
            with TemporaryDirectory() as spare:
                made = [line for line in _make_keys(Path(spare)) if not line.startswith("CAS_TOKEN_KEYS=")]
            made.append(f"CAS_TOKEN_KEYS={public_key}")
        else:
            made = _make_keys(keys)
        return [
            "# The secrets of a development stack. manage.py reads them; never use them in production.",
            *made,
            "CAS_SECURE_COOKIES=false",
            "CAS_STORAGE_HOSTS=*,127.0.0.0/8,::1",  # an object service to try it with runs on this machine
            f"CAS_ADMIN_USER={ADMIN}",
            f"CAS_ADMIN_PASSWORD={secrets.token_urlsafe(9)}",
        ]

    def _make_checkpoint_key(self) -> str:
        key = self.data_dir / "keys" / "checkpoint-private.pem"
        return f"CAS_CHECKPOINT_KEY={key}" if key.exists() else _manage("make_checkpoint_key", str(key.parent))[0]

    def _write(self, lines: list[str]) -> None:
        new = self.env_file.with_suffix(".new")
        new.unlink(missing_ok=True)  # a leftover may be open to others
        new.touch(mode=0o600)
        new.write_text("\n".join(lines) + "\n")
        new.replace(self.env_file)


def _make_keys(folder: Path) -> list[str]:
    return _manage("make_keys", str(folder))


def _manage(*arguments: str) -> list[str]:
    command = [sys.executable, str(PROJECT / "manage.py"), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def _port(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        sys.exit(f"{name} must be a port number, not {text!r}.")
    return int(text)
