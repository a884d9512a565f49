"""A stack for pictures: started in a folder of its own, filled with two months of work, and removed."""

import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from hashlib import sha256
from io import StringIO
from pathlib import Path
from tempfile import mkdtemp

import django
import environ
import requests
from django.core.management import call_command
from django.utils import timezone
from rich.console import Console

from devstack.environment import PROJECT, Stack

NAMES = (
    "Aurora Robotics",
    "Blue Harbor Bank",
    "Cedar & Finch",
    "Delta Genomics",
    "Évora Rail",
    "Hanse Logistics",
    "Foundry North",
    "Green Mesa Energy",
)
FILES = (
    ("robot-firmware-4.2.0.tar.zst", 6_400_000),
    ("sbom.cyclonedx.json", 184_000),
    ("image-amd64.tar", 9_800_000),
    ("coverage.xml", 412_000),
    ("semgrep.sarif", 76_000),
    ("provenance.intoto.jsonl", 8_300),
    ("übersicht-2026-11.pdf", 1_250_000),
    ("release notes (final).md", 5_100),
)
EVENTS = 40_000
DAYS = 60
SEED = 11
_SECONDS = 180


@dataclass(frozen=True)
class Showcase:
    """The running stack, who may sign in, and what there is to be shown."""

    stack: Stack
    user: str
    password: str
    organizations: list[uuid.UUID]
    digest: str  # of an artifact that several had

    def put(self, content: bytes, file_name: str, organization: uuid.UUID) -> str:
        """Upload, as a client would; the digest."""
        digest = sha256(content).hexdigest()
        url, headers = f"{self.stack.url}/artifacts/sha256:{digest}", _headers("uploader", organization)
        requests.put(url, content, params={"filename": file_name}, headers=headers, timeout=60).raise_for_status()
        return digest

    def get(self, digest: str, organization: uuid.UUID) -> None:
        """Download all of it, as a client would."""
        headers = _headers("downloader", organization)
        requests.get(f"{self.stack.url}/artifacts/sha256:{digest}", headers=headers, timeout=60).raise_for_status()

    def work(self, seconds: float) -> None:
        """Some transfers, one after the other, for so long."""
        chance, end = random.Random(SEED), time.monotonic() + seconds  # noqa: S311  (no secret)
        while time.monotonic() < end:
            name, size = chance.choice(FILES)
            organization = chance.choice(self.organizations)
            digest = self.put(chance.randbytes(size // 10), name, organization)
            if chance.random() < 0.5:  # noqa: PLR2004
                self.get(digest, organization)
            time.sleep(0.8)


@contextmanager
def running() -> Iterator[Showcase]:
    """Start it, fill it, hand it out, and end it. Exits with a message when it does not start."""
    console = Console(stderr=True)
    folder = Path(mkdtemp(prefix="artifact-cas-showcase-"))
    stack = Stack(folder / "data", _free_port(), _free_port())
    log = folder / "log"
    environment = {
        **os.environ,
        "CAS_DATA_DIR": str(stack.data_dir),
        "CAS_PORT": str(stack.port),
        "CAS_NATS_PORT": str(stack.nats_port),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "devstack"], env=environment, cwd=PROJECT, stdout=output, stderr=output
        )
    try:
        console.print(f"Starting a stack in {folder}")
        _wait(lambda: process.poll() is not None or stack.is_ready(), "the stack is ready")
        if process.poll() is not None:
            sys.exit(f"The stack ended:\n{log.read_text()}")
        os.environ |= environment
        environ.Env.read_env(str(stack.env_file))
        os.environ["DJANGO_SETTINGS_MODULE"] = "casproject.settings"
        django.setup()
        console.print("Filling it")
        yield _fill(stack)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def _fill(stack: Stack) -> Showcase:
    from audit.models import Organization  # noqa: PLC0415  (needs the apps loaded)
    from audit.seeding import organizations_of  # noqa: PLC0415

    organizations = organizations_of(len(NAMES))
    for organization, name in zip(organizations, NAMES, strict=True):
        Organization.objects.update_or_create(pk=organization, defaults={"display_name": name})
    show = Showcase(stack, os.environ["CAS_ADMIN_USER"], os.environ["CAS_ADMIN_PASSWORD"], organizations, "")
    options = {"count": EVENTS, "organizations": len(NAMES), "days": DAYS, "seed": SEED, "state": "pending"}
    call_command("seed_events", **options, stdout=StringIO())
    digest = _transfer(show)
    _damage(stack)
    command = [sys.executable, "manage.py", "verify_artifacts", "--location", "FILESYSTEM/default"]
    subprocess.run(command, cwd=PROJECT, capture_output=True, check=False)  # which tells the damage by its exit status
    _make_archive()
    _wait(_is_settled, "all events are published and sealed")
    return Showcase(stack, show.user, show.password, organizations, digest)


def _transfer(show: Showcase) -> str:
    """Real artifacts: each stored once, uploaded again by others, and downloaded; the digest of the first."""
    chance = random.Random(SEED)  # noqa: S311  (no secret)
    stored: list[str] = []
    further: list[Callable[[], object]] = []
    for name, size in FILES:
        content = chance.randbytes(size)
        stored.append(show.put(content, name, chance.choice(show.organizations[:4])))
        others = chance.sample(show.organizations[4:], 3)
        further += [partial(show.put, content, name, other) for other in others]
        further += [partial(show.get, stored[-1], other) for other in others]
    for transfer in chance.sample(further, len(further)):
        transfer()
    return stored[0]


def _damage(stack: Stack) -> None:
    """One artifact rots, and one is lost; the scrub will find both."""
    from artifacts.models import Artifact  # noqa: PLC0415

    rotten, lost = Artifact.objects.filter(file_name__in=["coverage.xml", "semgrep.sarif"]).order_by("file_name")
    for label in (rotten, lost):
        path = stack.data_dir / "artifacts" / "sha256" / label.digest[:2] / label.digest
        if label is lost:
            path.unlink()
        else:
            path.chmod(0o600)
            path.write_bytes(b"\0" * label.size_bytes)


def _make_archive() -> None:
    """A location elsewhere, with credentials, a quota, and labels of what seeded events tell of."""
    from artifacts.models import Artifact, Location, Scrub  # noqa: PLC0415
    from audit.models import AuditEvent  # noqa: PLC0415

    options = {"bucket_name": "artifacts-archive", "region_name": "eu-central-1"}
    archive = Location(name="archive", backend="AWS-S3", options=options, proof_of_possession=True)
    archive.credentials = {"access_key": "showcase", "secret_key": secrets.token_urlsafe()}
    archive.save()
    events = AuditEvent.objects.filter(location="archive", skipped=False, action="CASArtifactUploaded").order_by("-id")
    labels = {
        event.digest: Artifact(
            location=archive,
            digest=event.digest,
            size_bytes=event.size_bytes,
            file_name=event.file_name,
            created_at=event.occurred_at,
            verified_at=event.occurred_at + timedelta(days=1),
        )
        for event in events[:2000]
    }
    Artifact.objects.bulk_create(labels.values())
    size = sum(label.size_bytes for label in labels.values())
    archive.quota_bytes = round(size * 1.4, 2 - len(str(size)))  # two digits
    archive.save()
    Scrub.objects.create(location=archive, finished_at=timezone.now(), checked=len(labels), checked_bytes=size)


def _is_settled() -> bool:
    from audit.models import AuditEvent, State  # noqa: PLC0415

    return not (
        AuditEvent.objects.filter(state=State.PENDING).exists() or AuditEvent.objects.filter(position=None).exists()
    )


def _headers(role: str, organization: uuid.UUID) -> dict[str, str]:
    token = StringIO()
    call_command("mint_token", role=role, org=str(organization), stdout=token)
    return {"Authorization": f"Bearer {token.getvalue().strip()}"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"It took longer than {_SECONDS} s until {what}.")
        time.sleep(0.3)
