"""`make demo`: the main job on real files, through a running stack, seen from outside.

Uploads, deduplicates, downloads and compares; then reads the events back from JetStream and checks the
organization's usage, by the consumer arithmetic, against what this client counted.
"""

import filecmp
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from hashlib import file_digest
from importlib.metadata import distributions
from io import BufferedReader
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from audit.events import Kind
from audit.usage import Usage, usage_by_organization
from common.sizes import format_size
from devstack.environment import PROJECT, Stack

BIG_FILE = 256 * 1024**2  # bytes
BLOCK = 1024**2
EVENT_SECONDS = 30

console = Console(width=max(Console().width, 112))


@dataclass(frozen=True)
class Sample:
    """A file to send, and its SHA-256."""

    path: Path
    digest: str

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    @classmethod
    def of(cls, path: Path) -> "Sample":
        with path.open("rb") as file:
            return cls(path, file_digest(file, "sha256").hexdigest())


class Client:
    """One organization's uploader and downloader, counting what it did as the consumer will."""

    def __init__(self, stack: Stack) -> None:
        self.organization = str(uuid.uuid4())
        self.counted = Usage()
        self._stack = stack
        self._upload = {"Authorization": f"Bearer {self._mint('uploader')}"}
        self._download = {"Authorization": f"Bearer {self._mint('downloader')}"}

    def _mint(self, role: str) -> str:
        return manage("mint_token", "--role", role, "--org", self.organization).strip()

    def upload(self, sample: Sample, progress: Progress) -> None:
        """PUT the file; exit when the server does not take it."""
        task = progress.add_task(f"upload {sample.path.name}", total=sample.size)
        with sample.path.open("rb") as file:
            body = _Watched(file, lambda sent: progress.update(task, advance=sent), sample.size)
            answer = requests.put(
                self._url(sample), params={"filename": sample.path.name}, data=body, headers=self._upload, timeout=60
            )
        _require(answer.ok, f"upload of {sample.path.name}: {answer.status_code} {answer.text}")
        outcome = answer.json()
        note = "already there" if outcome["skipped"] else "stored"
        progress.update(task, description=f"upload {sample.path.name}: {note}", completed=sample.size)
        self.counted.count(Kind.DEDUPLICATED if outcome["skipped"] else Kind.UPLOADED, outcome["size_bytes"])

    def download(self, sample: Sample, folder: Path, progress: Progress) -> None:
        """GET the file and compare it with what was sent; exit when they differ."""
        task = progress.add_task(f"download {sample.path.name}", total=sample.size)
        copy = folder / f"{sample.path.name}.copy"
        with requests.get(self._url(sample), headers=self._download, stream=True, timeout=60) as answer:
            _require(answer.ok, f"download of {sample.path.name}: {answer.status_code}")
            with copy.open("wb") as file:
                for block in answer.iter_content(BLOCK):
                    file.write(block)
                    progress.update(task, advance=len(block))
        _require(filecmp.cmp(sample.path, copy, shallow=False), f"{sample.path.name} came back different")
        progress.update(task, description=f"download {sample.path.name}: identical")
        self.counted.count(Kind.DOWNLOADED, sample.size)

    def _url(self, sample: Sample) -> str:
        return f"{self._stack.url}/artifacts/sha256:{sample.digest}"


class _Watched:
    """A file that tells how much of it was read; `requests` streams it because it has a length."""

    def __init__(self, file: BufferedReader, tell: Callable[[int], None], size: int) -> None:
        self._file = file
        self._tell = tell
        self._size = size

    def __len__(self) -> int:
        return self._size

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(BLOCK if size < 0 else max(size, BLOCK))
        self._tell(len(block))
        return block


def main() -> None:
    """Run the demonstration; exit with 1 and the reason at the first thing that is not as it should be."""
    stack = Stack.from_environment()
    _require(stack.is_ready(), f"No stack answers at {stack.url}. Start one with `make run` in another terminal.")
    client = Client(stack)
    with TemporaryDirectory(dir=stack.data_dir, prefix="demo-") as folder:
        samples = list(make_samples(Path(folder)))
        transfer(client, samples, Path(folder))
    events = wait_for_events(client)
    console.print(event_table(events))
    usage = usage_by_organization(event["event"] for event in events)[client.organization]
    console.print(usage_table(client.organization, usage))
    _require(asdict(usage) == asdict(client.counted), f"The stream says {usage}, the client counted {client.counted}")
    console.print("[green]What JetStream tells is what this client did.[/]")


def make_samples(folder: Path) -> Iterator[Sample]:
    """The project's own git bundle, an SBOM of what it runs on, and a file too big to be convenient."""
    bundle = folder / "artifact-cas.bundle"
    git = subprocess.run(
        ["git", "bundle", "create", "--quiet", str(bundle), "HEAD"], cwd=PROJECT, capture_output=True, check=False
    )
    if git.returncode == 0:
        yield Sample.of(bundle)
    else:
        console.print("[yellow]This folder is no git checkout with a commit; there is no bundle to send.[/]")

    sbom = folder / "sbom.cyclonedx.json"
    sbom.write_text(json.dumps(make_sbom(), indent=2))
    yield Sample.of(sbom)

    big = folder / "random-256MiB.bin"
    with big.open("wb") as file:
        for _ in range(BIG_FILE // BLOCK):
            file.write(os.urandom(BLOCK))
    yield Sample.of(big)


def make_sbom() -> dict[str, Any]:
    """The installed packages as a CycloneDX 1.6 document."""
    packages = sorted({(found.metadata["Name"], found.version) for found in distributions()})
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "components": [
            {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name.lower()}@{version}"}
            for name, version in packages
        ],
    }


def transfer(client: Client, samples: list[Sample], folder: Path) -> None:
    """Upload all, the last one twice, and download all."""
    columns = [
        TextColumn("{task.description:<45}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
    ]
    with Progress(*columns, console=console) as progress:
        for sample in [*samples, samples[-1]]:
            client.upload(sample, progress)
        for sample in samples:
            client.download(sample, folder, progress)


def wait_for_events(client: Client) -> list[dict[str, Any]]:
    """The organization's events in the stream, once there are as many as transfers; exit when they do not come."""
    expected = client.counted.uploads + client.counted.skipped_uploads + client.counted.downloads
    deadline = time.monotonic() + EVENT_SECONDS
    while True:
        lines = manage("audit_stream", "read", "--org", client.organization).splitlines()
        if len(lines) >= expected:
            return [json.loads(line) for line in lines]
        _require(
            time.monotonic() < deadline, f"{len(lines)} of {expected} events were in the stream after {EVENT_SECONDS} s"
        )
        time.sleep(0.2)


def event_table(events: list[dict[str, Any]]) -> Table:
    table = Table(title="Events, as read back from JetStream")
    for column in ("sequence", "time", "event", "skipped", "file", "size", "digest"):
        table.add_column(column, justify="right" if column in {"sequence", "size"} else "left")
    for line in events:
        data = line["event"]["Data"]
        info = data["Info"]
        table.add_row(
            str(line["sequence"]),
            line["event"]["Timestamp"][11:23],
            data["ActionType"],
            "yes" if info.get("skipped") else "",
            info.get("file_name", ""),
            format_size(info["size_bytes"]),
            info["digest"][:12],
        )
    return table


def usage_table(organization: str, usage: Usage) -> Table:
    table = Table(title=f"Usage of organization {organization}")
    for column in ("", "transfers", "bytes"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row("uploaded", str(usage.uploads), f"{usage.uploaded_bytes:,}")
    table.add_row("downloaded", str(usage.downloads), f"{usage.downloaded_bytes:,}")
    table.add_row("saved by deduplication", str(usage.skipped_uploads), f"{usage.saved_bytes:,}")
    return table


def manage(*arguments: str) -> str:
    """Run a manage.py command, which finds the stack as this one did; return what it printed."""
    command = [sys.executable, str(PROJECT / "manage.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    _require(done.returncode == 0, f"manage.py {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def _require(condition: bool, complaint: str) -> None:
    if not condition:
        sys.exit(complaint)


if __name__ == "__main__":
    main()
