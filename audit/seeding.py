"""Events that never happened, as many as asked for, spread as real ones are: for demonstrations and benchmarks."""

import math
import random
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta

from audit.events import Action, Event

_NAMES = (
    "sbom.cyclonedx.json",
    "image.tar",
    "coverage.xml",
    "report.sarif",
    "app.whl",
    "attestation.json",
    "build.log",
)
_LOCATIONS = (("FILESYSTEM", "default"), ("AWS-S3", "archive"), ("GCS", "builds"))
_ARTIFACTS_PER_ORGANIZATION = 2000


def organizations_of(count: int) -> list[uuid.UUID]:
    """The same for the same count, so that seeding again adds to what is there."""
    return [uuid.uuid5(uuid.NAMESPACE_URL, f"seed:{number}") for number in range(count)]


def events(count: int, organizations: list[uuid.UUID], end: datetime, days: float, seed: int = 0) -> Iterator[Event]:
    """Events in the order of time up to `end`.

    Few organizations make most of them and few artifacts are asked for most (both by a power law), working hours
    are busier than nights, and sizes are log-normal: some kilobytes mostly, now and then gigabytes.
    """
    chance = random.Random(seed)  # noqa: S311  (no secret)
    weights = [1 / (number + 1) for number in range(len(organizations))]
    for number in range(count):
        organization = chance.choices(organizations, weights)[0]
        artifact = int(_ARTIFACTS_PER_ORGANIZATION * chance.random() ** 3)
        of_artifact = random.Random(f"{organization} {artifact}")  # noqa: S311  (no secret)
        backend, location = of_artifact.choices(_LOCATIONS, (6, 3, 1))[0]
        kind = chance.random()
        yield Event(
            event_id=uuid.UUID(int=chance.getrandbits(128), version=4),
            timestamp_ns=_nanoseconds(
                end - timedelta(days=days) * (1 - _busy((number + chance.random()) / count, days))
            ),
            action=Action.DOWNLOADED if kind < 0.6 else Action.UPLOADED,  # noqa: PLR2004
            org_id=organization,
            digest=f"{of_artifact.getrandbits(256):064x}",
            size_bytes=min(int(of_artifact.lognormvariate(10, 3)), 20 * 1024**3),
            file_name=f"{of_artifact.randrange(100)}-{of_artifact.choice(_NAMES)}",
            backend=backend,
            location=location,
            skipped=0.6 <= kind < 0.75,  # noqa: PLR2004
        )


def _busy(share: float, days: float) -> float:
    """The share of the time by which this share of the events has happened: a wave a day, never standing still."""
    return share - 0.8 * math.sin(2 * math.pi * share * days) / (2 * math.pi * days)


def _nanoseconds(time: datetime) -> int:
    return int(time.timestamp()) * 1_000_000_000 + time.microsecond * 1000
