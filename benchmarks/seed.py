"""Fills the database with rows of artifacts and published events: `python -m benchmarks.seed 1000000`.

For a benchmark's own database; it is run in the environment of a stack.
"""

import sys
import time
import uuid
from hashlib import sha256

import django

django.setup()

from django.db import connection, transaction

from artifacts.models import Artifact, Location
from audit.events import Action, Event
from audit.models import AuditEvent, State

BATCH = 5000
SIZE = 4096


def main() -> None:
    location = Location.objects.get(name="default")
    count = int(sys.argv[1])
    organizations = [uuid.uuid4() for _ in range(10)]
    for start in range(0, count, BATCH):
        digests = [sha256(f"seed {number}".encode()).hexdigest() for number in range(start, min(start + BATCH, count))]
        Artifact.objects.bulk_create(
            [Artifact(location=location, digest=digest, size_bytes=SIZE) for digest in digests], batch_size=BATCH
        )
        events = [_event(location, digest, organizations[number % 10]) for number, digest in enumerate(digests)]
        with transaction.atomic():
            AuditEvent.insert([AuditEvent.column_values(event, State.PUBLISHED) for event in events])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _event(location: Location, digest: str, organization: uuid.UUID) -> Event:
    return Event(
        event_id=uuid.uuid4(),
        timestamp_ns=time.time_ns(),
        action=Action.UPLOADED,
        org_id=organization,
        digest=digest,
        size_bytes=SIZE,
        file_name="",
        backend=location.backend,
        location=location.name,
    )


if __name__ == "__main__":
    main()
