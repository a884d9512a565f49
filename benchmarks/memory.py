"""Peak memory of the web processes while artifacts of growing size go up and come down.

    make run                                  # in one terminal
    .venv/bin/python benchmarks/memory.py     # in another; --gib 4 by default; Linux

Each size is sent through the running stack, streamed on the client's side as well. A web process's peak is
the kernel's VmHWM, reset before each size. Speeds are those of client and server sharing this machine, shown
beside SHA-256 alone over the same bytes in the same run.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from random import Random

import requests
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from devstack.demo import manage
from devstack.environment import Stack

MIB = 1024**2


class Content:
    """`size` pseudo-random bytes, made as they are read, the same each time for one seed."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self._block = Random(seed).randbytes(MIB)

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self.size // MIB):
            yield number.to_bytes(8, "big") + self._block[8:]


class Body:
    """The content as a file, which is what makes `requests` send a Content-Length."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._blocks = iter(content)

    def __len__(self) -> int:
        return len(self._content)

    def read(self, size: int = -1) -> bytes:
        return next(self._blocks, b"")


def web_processes(port: int) -> list[int]:
    """The process ids of the web server on this port and its workers."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue  # it ended meanwhile
            if b"casproject.serve" in command and str(port).encode() in command:
                found.append(int(entry.name))
    return found


def reset_peaks(pids: list[int]) -> None:
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak(pids: list[int]) -> float:
    """The largest VmHWM among the processes, in MiB."""
    statuses = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return max(int(status.split("VmHWM:")[1].split()[0]) for status in statuses) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=int, default=4, help="the largest size, in GiB (default: %(default)s)")
    largest = parser.parse_args().gib * 1024 * MIB
    stack = Stack.from_environment()
    pids = web_processes(stack.port)
    if not pids:
        sys.exit(f"No web server on port {stack.port}. Start one with `make run` in another terminal.")

    table = Table(title="Web process, peak RSS")
    for column in ("size", "SHA-256 alone", "upload", "download", "peak up", "peak down"):
        table.add_column(column, justify="right")
    sizes = [size for size in (10 * MIB, 256 * MIB) if size < largest] + [largest]
    with Progress(console=Console(stderr=True)) as progress:
        for size in progress.track(sizes):
            table.add_row(*measure(stack, pids, size))
    Console().print(table)


def measure(stack: Stack, pids: list[int], size: int) -> list[str]:
    """Send one artifact up and down; return the cells of its row."""
    content = Content(size, seed=time.time_ns())
    started = time.perf_counter()
    hasher = sha256()
    for block in content:
        hasher.update(block)
    hashed = time.perf_counter() - started
    url = f"{stack.url}/artifacts/sha256:{hasher.hexdigest()}"
    headers = {role: {"Authorization": f"Bearer {manage('mint_token', '--role', role).strip()}"} for role in ROLES}

    reset_peaks(pids)
    started = time.perf_counter()
    answer = requests.put(url, Body(content), headers=headers["uploader"], timeout=600)
    uploaded = time.perf_counter() - started
    assert answer.status_code == 201, answer.text  # noqa: S101  (a benchmark of something else is none)
    peak_up = peak(pids)

    reset_peaks(pids)
    started = time.perf_counter()
    received = 0
    with requests.get(url, headers=headers["downloader"], stream=True, timeout=600) as answer:
        for block in answer.iter_content(MIB):
            received += len(block)
    downloaded = time.perf_counter() - started
    assert received == size, received  # noqa: S101

    speeds = [f"{size / seconds / 1e6:.0f} MB/s" for seconds in (hashed, uploaded, downloaded)]
    return [f"{size // MIB} MiB", *speeds, f"{peak_up:.0f} MiB", f"{peak(pids):.0f} MiB"]


ROLES = ("uploader", "downloader")

if __name__ == "__main__":
    main()
