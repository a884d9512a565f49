"""The clients: curl for large bodies, wrk for many small ones, and the content they send."""

import os
import secrets
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random

HERE = Path(__file__).resolve().parent
MIB = 1024**2
SMALL = 4096
CONNECTIONS = 16

_TAIL = 64
_RUN = 20
_NUMBER = 12


class LoadError(Exception):
    """A transfer did not end as it should: the figure would mean nothing."""


class Source:
    """A file to upload. Its last bytes can be rewritten, which makes it new content whose digest is soon known."""

    def __init__(self, path: Path, size: int, *, is_sparse: bool = False) -> None:
        self.path = path
        self.size = size
        block = bytes(MIB) if is_sparse else Random(secrets.randbits(64)).randbytes(MIB)
        self._hasher = sha256()
        left = size - _TAIL
        with path.open("wb") as file:
            for number in range(-(-left // MIB)):
                piece = (block if is_sparse else number.to_bytes(8, "big") + block[8:])[: left - number * MIB]
                self._hasher.update(piece)
                if not is_sparse:
                    file.write(piece)
            file.truncate(size)

    def renew(self, tail: bytes = b"") -> str:
        """Rewrite the end, with random bytes unless told; return the digest of the whole."""
        tail = (tail or secrets.token_bytes(_TAIL)).ljust(_TAIL, b"\0")
        with self.path.open("r+b") as file:
            file.seek(self.size - _TAIL)
            file.write(tail)
        hasher = self._hasher.copy()
        hasher.update(tail)
        return hasher.hexdigest()


@dataclass(frozen=True)
class Transfer:
    """What curl says of a request it made."""

    uploaded: int
    downloaded: int
    seconds: float


def curl(url: str, headers: Mapping[str, str], *arguments: str) -> Transfer:
    """Make one request, its answer's body dropped; raise LoadError unless it succeeds."""
    fields = [word for name, value in headers.items() for word in ("--header", f"{name}: {value}")]
    command = [
        *("curl", "--silent", "--show-error", "--fail", "--noproxy", "*", "--output", os.devnull),
        *("--write-out", "%{size_upload} %{size_download} %{time_total}", *fields, *arguments, url),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoadError(f"curl {' '.join(arguments)} {url}: {done.stderr.strip()}")
    uploaded, downloaded, seconds = done.stdout.split()
    return Transfer(int(uploaded), int(downloaded), float(seconds))


@dataclass(frozen=True)
class Rate:
    """Many small requests: objects per second, and milliseconds for one."""

    count: int
    per_second: float
    p50: float
    p99: float

    def as_metrics(self) -> dict[str, float]:
        return {"per second": self.per_second, "p50 ms": self.p50, "p99 ms": self.p99}


class Smalls:
    """Bodies of 4 KiB, none of them ever sent before, as a list that put.lua can read."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.run = secrets.token_hex(_RUN // 2)
        self._filler = Random(self.run).randbytes(SMALL - _RUN - _NUMBER)
        self.digests = [sha256(self.body(number)).hexdigest() for number in range(count)]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "filler").write_bytes(self._filler)
        (folder / "digests").write_text("\n".join(self.digests) + "\n")

    def body(self, number: int) -> bytes:
        return f"{self.run}{number:0{_NUMBER}}".encode() + self._filler


def wrk_put(address: str, headers: Mapping[str, str], kind: str, path: str, smalls: Smalls, seconds: int) -> Rate:
    """PUT the prepared bodies over 16 connections, each with a thread of its own for its state."""
    arguments = [kind, path, smalls.run, str(smalls.folder), str(CONNECTIONS)]
    return _wrk(address, headers, CONNECTIONS, seconds, "put.lua", *arguments)


def wrk_get(address: str, headers: Mapping[str, str], path: str, digests: Path, seconds: int) -> Rate:
    """GET the objects of the list over 16 connections."""
    return _wrk(address, headers, 2, seconds, "get.lua", path, str(digests))


def _wrk(address: str, headers: Mapping[str, str], threads: int, seconds: int, script: str, *arguments: str) -> Rate:
    fields = [word for name, value in headers.items() for word in ("--header", f"{name}: {value}")]
    command = [
        *("wrk", f"-t{threads}", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s"),
        *("--script", str(HERE / script), *fields, address, "--", *arguments),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    line = next((line for line in done.stdout.splitlines() if line.startswith("result\t")), "")
    if done.returncode or not line:
        raise LoadError(f"wrk {script} {address}: {done.stdout}{done.stderr}")
    count, duration, p50, p99, failures, is_exhausted, sample = line.split("\t")[1:]
    if int(failures) or not int(count):
        raise LoadError(f"wrk {script} {address}: {failures} of {count} failed: {sample}")
    if int(is_exhausted):
        raise LoadError(f"wrk {script} {address}: ran out of new content; prepare more, or run for a shorter time.")
    return Rate(int(count), int(count) / int(duration) * 1e6, float(p50) / 1000, float(p99) / 1000)
