"""The stream as NATS describes it, written down by a worker: pages ask the database, never NATS."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.utils import timezone

from audit import nats_probe
from audit.models import StreamReport
from audit.names import STREAM
from audit.nats_probe import NatsReport, ProbeError

Problem = StreamReport.Problem


@dataclass(frozen=True, slots=True)
class StreamState:
    """What a StreamReport's `description` holds: a stream's counts and limits; 0 or less: no limit."""

    name: str
    subjects: list[str]
    messages: int
    bytes: int
    first_sequence: int
    last_sequence: int
    max_messages: int
    max_bytes: int
    max_age: float  # seconds
    replicas: int
    leader: str

    @property
    def is_nearly_full(self) -> bool:
        """Whether nine tenths of a limit are used; how the stream goes on then is its owner's choice."""
        used = ((self.messages, self.max_messages), (self.bytes, self.max_bytes))
        return any(limit > 0 and count * 10 >= limit * 9 for count, limit in used)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {name: getattr(self, name) for name in self.__slots__}


def report(worker: str) -> StreamReport:
    """Ask NATS and write down what it answers; what it answered before stays when it answers nothing now."""
    values: dict[str, Any] = {"reported_at": timezone.now(), "reported_by": worker[:200], "problem": "", "detail": ""}
    try:
        found = nats_probe.probe(settings.NATS_URL)
    except ProbeError as error:
        values |= {"problem": Problem.UNREACHABLE, "detail": str(error)}
    else:
        values |= _described(found)
    kept, _ = StreamReport.objects.update_or_create(pk=1, defaults=values)
    return kept


def _described(found: NatsReport) -> dict[str, Any]:
    if found.stream is None:
        problem = {"missing": Problem.MISSING, "not told": Problem.FORBIDDEN}.get(found.stream_problem, Problem.REFUSED)
        return {"problem": problem, "detail": found.stream_problem}
    config, state = found.stream.config, found.stream.state
    described = StreamState(
        name=config.name or STREAM,
        subjects=list(config.subjects or []),
        messages=state.messages,
        bytes=state.bytes,
        first_sequence=state.first_seq,
        last_sequence=state.last_seq,
        max_messages=config.max_msgs or 0,
        max_bytes=config.max_bytes or 0,
        max_age=float(config.max_age or 0),
        replicas=config.num_replicas or 1,
        leader=(found.stream.cluster.leader if found.stream.cluster else None) or found.server,
    )
    return {"description": described.plain(), "described_at": timezone.now()}
