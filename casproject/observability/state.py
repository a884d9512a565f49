"""What is asked of the database and the data folder when metrics are read, rather than counted."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import django.db
from django.conf import settings
from django.db.models import Max
from django.utils import timezone

from artifacts import late_labels
from artifacts.models import Location, Scrub
from audit import checkpointing, journal, retention, write_ahead
from audit.delivery import delivery_now, seal_lag
from audit.models import WorkerBeat

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gauge:
    """One gauge; values by the labels' values."""

    name: str
    documentation: str
    values: dict[tuple[str, ...], float]
    labels: tuple[str, ...] = ()


def read() -> list[Gauge]:
    """All gauges that can be read now; without those of the database when it does not answer."""
    gauges = list(_of_files())
    try:
        gauges += _of_database()
    except django.db.Error as error:
        logger.warning("The database does not answer, metrics go without it: %r", error)
        is_up = 0.0
    else:
        is_up = 1.0
    return [*gauges, Gauge("cas_database_up", "Whether the database answered.", {(): is_up})]


def _of_files() -> Iterator[Gauge]:
    files, segments = journal.pending(), write_ahead.segments()
    yield Gauge(
        "cas_journal_events",
        "Audit events in the journal's files, which the database did not take yet.",
        {(): len(files)},
    )
    yield Gauge(
        "cas_write_ahead_bytes",
        "Size of audit events in the write-ahead log that are not in the trail yet.",
        {(): sum(map(_size, segments))},
    )
    yield Gauge(
        "cas_oldest_waiting_event_seconds",
        "Age of the oldest file of audit events that are not in the trail yet; 0 when there is none.",
        {(): max(map(_age, [*files[:1], *segments[:1]]), default=0)},
    )
    yield Gauge(
        "cas_waiting_labels",
        "Labels of uploads, in files, which the database did not take yet.",
        {(): len(late_labels.pending())},
    )


def _age(path: Path) -> float:
    nanoseconds = path.name.split("-")[0]  # both begin with when they were made
    return max(time.time() - int(nanoseconds) / 1e9, 0) if nanoseconds.isdecimal() else 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0  # taken into the trail meanwhile


def _of_database() -> Iterator[Gauge]:
    delivery = delivery_now()
    yield Gauge("cas_outbox_pending_events", "Audit events to be published.", {(): delivery.pending})
    yield Gauge(
        "cas_outbox_oldest_pending_seconds",
        "How long the oldest audit event that is to be published has waited; 0 when none does.",
        {(): delivery.oldest_pending_seconds or 0},
    )
    yield Gauge("cas_outbox_failed_events", "Audit events that can never be published.", {(): delivery.failed})
    yield Gauge("cas_trail_unsealed_events", "Audit events without a place in the chain yet.", {(): delivery.unsealed})
    if delivery.last_published_at is not None:
        published_at = delivery.last_published_at.timestamp()
        yield Gauge("cas_last_published_timestamp_seconds", "When events were last acknowledged.", {(): published_at})
    yield Gauge(
        "cas_seal_lag_seconds",
        "How long the oldest audit event that is not sealed has waited for it; 0 when all are.",
        {(): seal_lag()},
    )
    if (age := checkpointing.age()) is not None:
        yield Gauge("cas_checkpoint_age_seconds", "Time since the last checkpoint of the trail.", {(): age})
    yield Gauge(
        "cas_retention_lag_seconds",
        "Time for which the oldest event that was to leave the trail has stayed; 0 when there is none.",
        {(): retention.lag(settings.AUDIT_RETENTION_DAYS)},
    )
    yield Gauge(
        "cas_worker_silence_seconds",
        "Time since the last task of any worker of this name.",
        _silence(),
        ("worker",),
    )
    names, found = _scrub_findings()
    yield Gauge("cas_scrub_findings", "What the latest scrub of each location found.", found, names)


def _silence() -> dict[tuple[str, ...], float]:
    now, silence = timezone.now(), dict[tuple[str, ...], float]()
    for name, seen_at in WorkerBeat.objects.order_by("seen_at").values_list("name", "seen_at"):
        silence[(name.partition("@")[0],)] = max(0.0, (now - seen_at).total_seconds())  # the latest comes last
    return silence


def _scrub_findings() -> tuple[tuple[str, ...], dict[tuple[str, ...], float]]:
    latest = Location.objects.annotate(latest=Max("scrubs__pk")).exclude(latest=None).values_list("latest", flat=True)
    found: dict[tuple[str, ...], float] = {}
    for scrub in Scrub.objects.filter(pk__in=list(latest)).select_related("location"):
        for name in ("corrupt", "missing", "unreadable"):
            found[str(scrub.location), name] = getattr(scrub, name)
    return ("location", "finding"), found
