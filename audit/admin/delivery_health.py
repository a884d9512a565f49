"""How events get to the stream, in a line each, with a word of how well."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.utils import timezone

from audit.delivery import COUNTED, Delivery, delivery_now
from audit.models import StreamReport, WorkerBeat
from audit.stream_state import StreamState
from common.sizes import format_size

LATE = 60  # seconds that an event may wait to be published before it is worth a word
SILENT = timedelta(minutes=1)  # without a heartbeat: a worker is at work, or gone
STALE = timedelta(minutes=3)  # since NATS was asked

GOOD, DOUBTFUL, BAD = "good", "doubtful", "bad"
_MOST_WORKERS = 20
_KEY_LENGTH = 56  # of a server's public key, which NATS tells of a server without a name


class Line(NamedTuple):
    """`level` is GOOD, DOUBTFUL or BAD; `url` leads to the events, "" where there are none to look at."""

    label: str
    value: str
    detail: str
    level: str
    url: str = ""


def health(events_url: Callable[..., str], *, sees_all: bool) -> list[Line]:
    """The lines, of six short queries; without those of events for who does not see all. Raises django.db.Error."""
    if not settings.NATS_URL:
        return _workers()
    outbox = _outbox(delivery_now(), events_url) if sees_all else []
    return [*outbox, *_stream(), *_workers()]


def _outbox(now: Delivery, events_url: Callable[..., str]) -> list[Line]:
    oldest = now.oldest_pending_seconds
    is_late = (oldest or 0) > LATE
    waiting = f"the oldest for {duration(oldest)}" if oldest is not None else "nothing waits"
    published = "nothing yet" if now.last_sequence is None else f"sequence {now.last_sequence:,}"
    return [
        Line("Pending", told(now.pending), waiting, DOUBTFUL if is_late else GOOD, events_url(state="pending")),
        Line(
            "Failed",
            told(now.failed),
            "refused for good; look why, then retry" if now.failed else "none was refused",
            BAD if now.failed else GOOD,
            events_url(state="failed"),
        ),
        Line("Last published", published, _ago(now.last_published_at), GOOD, events_url(state="published")),
    ]


def _stream() -> list[Line]:
    report = StreamReport.objects.filter(pk=1).first()
    if report is None:
        return [Line("Stream", "not asked yet", "a worker asks NATS every 15 seconds", DOUBTFUL)]
    asked = f"asked {_ago(report.reported_at)}"
    if report.problem:
        return [Line("Stream", report.get_problem_display(), "; ".join(filter(None, [report.detail, asked])), BAD)]
    state = StreamState(**(report.description or {}))
    limit = f" of {format_size(state.max_bytes)}" if state.max_bytes > 0 else ""
    detail = f"{state.name}: {format_size(state.bytes)}{limit}, last sequence {state.last_sequence:,}, "
    detail += f"led by {state.leader}, {asked}" if len(state.leader) < _KEY_LENGTH else asked
    is_stale = timezone.now() - report.reported_at > STALE
    level = DOUBTFUL if is_stale or state.is_nearly_full else GOOD
    words = " (nearly full)" if state.is_nearly_full else ""
    return [Line("Stream", f"{state.messages:,} messages{words}", detail, level)]


def _workers() -> list[Line]:
    beats = list(WorkerBeat.objects.order_by("name")[:_MOST_WORKERS])
    if not beats:
        return [Line("Workers", "none", "none has ever been at work: start `celery worker`", BAD)]
    return [_worker(beat) for beat in beats]


def _worker(beat: WorkerBeat) -> Line:
    is_silent = timezone.now() - beat.seen_at > SILENT
    files = f", {beat.waiting_files} files of events wait on its host" if beat.waiting_files else ""
    value = "silent" if is_silent else "at work"
    return Line(f"Worker {beat.name}", value, f"seen {_ago(beat.seen_at)}{files}", BAD if is_silent else GOOD)


def told(number: int) -> str:
    """A count of audit/delivery.py in words."""
    return f"{COUNTED:,} or more" if number >= COUNTED else f"{number:,}"


def _ago(time: datetime | None) -> str:
    return "" if time is None else f"{duration((timezone.now() - time).total_seconds())} ago"


def duration(seconds: float) -> str:
    """Such as `3 s`, `5 min`, `2 h` or `4 d`."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"
