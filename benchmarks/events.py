"""Run in the environment of a stack by benchmarks/outbox.py: makes pending events, or publishes the same ones raw.

python -m benchmarks.events fill 20000 2      # rows, and a wake-up for each of two workers
python -m benchmarks.events raw 20000         # prints the seconds, by the clock and of CPU, until the last ack
"""

import asyncio
import sys
import time
import uuid
from collections.abc import Iterator
from hashlib import sha256

import django

django.setup()

import nats
from django.conf import settings
from django.db import transaction

from audit import nudge
from audit.events import Action, Event
from audit.models import AuditEvent, State

BATCH = 5000
WINDOW = 256  # of publish_async, where nats-py is fastest
_ORGANIZATION = uuid.uuid4()


def events(count: int) -> Iterator[Event]:
    for number in range(count):
        yield Event(
            event_id=uuid.uuid4(),
            timestamp_ns=time.time_ns(),
            action=Action.UPLOADED,
            org_id=_ORGANIZATION,
            digest=sha256(str(number).encode()).hexdigest(),
            size_bytes=4096,
            file_name=f"report-{number}.json",
            backend="FILESYSTEM",
            location="default",
        )


def fill(count: int, workers: int) -> None:
    rows = [AuditEvent.column_values(event, State.PENDING) for event in events(count)]
    for start in range(0, count, BATCH):
        with transaction.atomic():
            AuditEvent.insert(rows[start : start + BATCH])
    for _ in range(workers):
        nudge.send()


async def raw(count: int) -> tuple[float, float]:
    messages = [(e.subject, e.payload().encode(), {"Nats-Msg-Id": str(e.event_id)}) for e in events(count)]
    async with await nats.connect(settings.NATS_URL) as client:
        stream = client.jetstream()
        started, cpu = time.perf_counter(), time.process_time()
        for start in range(0, count, WINDOW):
            acks = [
                await stream.publish_async(subject, payload, headers=headers)
                for subject, payload, headers in messages[start : start + WINDOW]
            ]
            await asyncio.gather(*acks)
        return time.perf_counter() - started, time.process_time() - cpu


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fill(int(sys.argv[2]), int(sys.argv[3]))
    else:
        print(*asyncio.run(raw(int(sys.argv[2]))))
