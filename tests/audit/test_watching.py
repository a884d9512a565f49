"""What workers write down: that they are there, and how NATS describes the stream."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.utils import timezone
from pytest_django import Settings

from audit import heartbeat, stream_state, upkeep_tasks
from audit.models import StreamReport, WorkerBeat
from audit.nats_probe import probe
from audit.stream_state import StreamState
from tests.servers import NatsServer

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_worker_is_seen_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "_last", -heartbeat.EVERY)
    heartbeat.beat("celery@a")
    heartbeat.beat("celery@b")
    assert list(WorkerBeat.objects.values_list("name", flat=True)) == ["celery@a"]
    monkeypatch.setattr(heartbeat, "_last", -heartbeat.EVERY)
    WorkerBeat.objects.update(seen_at=timezone.now() - timedelta(minutes=5))
    heartbeat.beat("celery@a")
    assert WorkerBeat.objects.get().seen_at > timezone.now() - timedelta(minutes=1)


def test_workers_that_are_gone_are_forgotten() -> None:
    for name, days in (("old", 2), ("new", 0)):
        WorkerBeat.objects.create(name=name, seen_at=timezone.now() - timedelta(days=days), waiting_files=0)
    heartbeat.forget_the_gone()
    assert WorkerBeat.objects.get().name == "new"


def test_of_each_kind_of_worker_the_last_is_remembered_for_its_silence_is_news() -> None:
    for name, days in (("celery@a", 3), ("celery@b", 2), ("maintenance@a", 2), ("maintenance@b", 0), ("second@a", 2)):
        WorkerBeat.objects.create(name=name, seen_at=timezone.now() - timedelta(days=days), waiting_files=0)
    heartbeat.forget_the_gone()
    assert set(WorkerBeat.objects.values_list("name", flat=True)) == {"celery@b", "maintenance@b"}


def test_the_stream_is_described_as_nats_tells_it(nats: NatsServer) -> None:
    report = stream_state.report("w")
    state = StreamState(**(report.description or {}))
    assert report.problem == ""
    assert (state.name, state.subjects) == ("chainloop-audit", ["audit.>"])
    assert state.messages <= state.last_sequence


def test_a_stream_that_is_missing_is_told(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_state, "nats_probe", SimpleNamespace(probe=lambda url: probe(url, "no-such-stream")))
    assert stream_state.report("w").problem == "missing"


def test_nats_that_is_gone_is_told_and_what_it_said_is_kept(nats: NatsServer, settings: Settings) -> None:
    stream_state.report("w")
    settings.NATS_URL = "nats://127.0.0.1:1"
    upkeep_tasks.watch()
    report = StreamReport.objects.get()
    assert report.problem == "unreachable"
    assert report.detail
    assert report.description
