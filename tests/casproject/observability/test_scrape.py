"""`/metrics`: what it says, in which form, and to whom."""

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from pytest_django import Settings

from artifacts.models import Location, Scrub
from audit import journal, write_ahead
from audit.metrics import count_batch
from audit.models import WorkerBeat
from casproject.checks import check_metrics
from casproject.observability import process
from common.metrics import METRICS
from tests.factories import make_event
from tests.prometheus import promtool

pytestmark = pytest.mark.django_db

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.sharing(), "_folder", tmp_path / "metrics")


def read(client: Client, **extra: Any) -> str:
    answer = client.get("/metrics", **extra)
    assert answer.status_code == 200
    return answer.content.decode()


def values(text: str) -> dict[str, float]:
    """By name and labels, as they are written."""
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    }


def test_promtool_finds_no_fault(client: Client, location: Location) -> None:
    Scrub.objects.create(location=location, corrupt=2)
    count_batch([], 0.01)
    text = read(client)
    assert promtool("check", "metrics", stdin=text.encode()) == ""
    assert 'cas_scrub_findings{finding="corrupt",location="FILESYSTEM/default"} 2.0' in text


def test_everything_has_a_help_text_and_a_name_that_says_its_unit(client: Client) -> None:
    for family in parse(read(client)):
        assert family.documentation.endswith((".", "1.")), family.name
        assert family.name.startswith("cas_"), family.name
    assert {name for name in METRICS if name.endswith("_total")} == {
        name for name, metric in METRICS.items() if not metric.buckets
    }


def test_openmetrics_is_answered_to_who_asks_for_it(client: Client) -> None:
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer["Content-Type"].startswith("application/openmetrics-text")
    names = {family.name for family in parse_openmetrics(answer.content.decode())}  # type: ignore[no-untyped-call]
    assert {"cas_transfers", "cas_transfer_duration_seconds", "cas_build_info"} <= names


def test_results_of_publishing_are_there_before_the_first(client: Client) -> None:
    shown = values(read(client))
    assert shown["cas_outbox_pending_events"] == shown["cas_outbox_oldest_pending_seconds"] == 0
    for result in ("acked", "duplicate", "timeout", "refused", "failed"):
        assert f'cas_publish_results_total{{result="{result}"}}' in shown


def test_what_alerts_wait_for_is_there_before_the_first(client: Client) -> None:
    shown = values(read(client))
    assert 'cas_problems_total{code="artifact_corrupt"}' in shown
    for kind in ("FILESYSTEM", "AWS-S3", "AzureBlob", "GCS", "other"):
        for result in ("failed", "busy"):
            assert f'cas_transfers_total{{action="upload",location_kind="{kind}",result="{result}"}}' in shown
            assert f'cas_transfers_total{{action="download",location_kind="{kind}",result="{result}"}}' in shown


def test_silence_of_a_kind_of_worker_is_that_of_the_one_seen_last(client: Client) -> None:
    for name, minutes in (("celery@a", 5), ("celery@b", 1), ("celery@c", 900), ("maintenance@a", 180)):
        seen_at = timezone.now() - timedelta(minutes=minutes)
        WorkerBeat.objects.create(name=name, seen_at=seen_at, waiting_files=0)
    shown = values(read(client))
    assert shown['cas_worker_silence_seconds{worker="celery"}'] == pytest.approx(60, abs=30)
    assert shown['cas_worker_silence_seconds{worker="maintenance"}'] == pytest.approx(180 * 60, abs=30)


def test_no_label_has_many_values() -> None:
    labels = {label for metric in METRICS.values() for label in metric.labels}
    assert labels == {"action", "code", "location_kind", "part", "result", "status"}


def test_database_that_is_away_takes_only_its_own_figures(client: Client) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OperationalError("gone")

    with connection.execute_wrapper(refuse):
        shown = values(read(client))
    assert shown["cas_database_up"] == 0
    assert {"cas_journal_events", "cas_waiting_labels"} < shown.keys()
    assert "cas_seal_lag_seconds" not in shown
    assert values(read(client))["cas_database_up"] == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_needs_no_token(client: Client, address: str) -> None:
    read(client, REMOTE_ADDR=address)


def test_scraper_comes_by_ip_address_and_plain_http(client: Client, settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True
    read(client, headers={"Host": "192.0.2.7:8000"})


@pytest.mark.parametrize("address", ["192.0.2.1", "::2", "", "unix:", "127.0.0.1, 192.0.2.1"])
def test_other_addresses_are_refused(client: Client, address: str) -> None:
    answer = client.get("/metrics", REMOTE_ADDR=address)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_proxy_on_the_same_machine_lets_nobody_in(client: Client, header: str) -> None:
    assert client.get("/metrics", headers={header: "192.0.2.1"}).status_code == 403


def test_allowed_network_is_let_in_instead_of_loopback(client: Client, settings: Settings) -> None:
    settings.CAS_METRICS_ALLOW = ["192.0.2.0/24"]
    read(client, REMOTE_ADDR="192.0.2.1")
    assert client.get("/metrics").status_code == 403


def test_token_lets_in_from_anywhere(client: Client, settings: Settings) -> None:
    settings.CAS_METRICS_TOKEN = TOKEN
    read(client, REMOTE_ADDR="192.0.2.1", headers={"Authorization": f"Bearer {TOKEN}", "X-Forwarded-For": "192.0.2.9"})
    read(client)  # loopback, still
    for authorization in ("", f"Bearer {TOKEN}x", "Bearer ", f"Basic {TOKEN}", "Bearer \u20ac"):
        answer = client.get("/metrics", REMOTE_ADDR="192.0.2.1", headers={"Authorization": authorization})
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
        assert answer["WWW-Authenticate"].startswith("Bearer")
        assert TOKEN not in answer.content.decode()


def test_empty_token_is_no_token(client: Client, settings: Settings) -> None:
    assert settings.CAS_METRICS_TOKEN == ""
    assert client.get("/metrics", REMOTE_ADDR="192.0.2.1", headers={"Authorization": "Bearer "}).status_code == 403


def test_metrics_can_only_be_read(client: Client) -> None:
    assert client.post("/metrics").status_code == 405
    assert client.head("/metrics").status_code == 200


def test_wrong_settings_stop_the_start(settings: Settings) -> None:
    def found() -> list[str | None]:
        messages: list[CheckMessage] = check_metrics()
        return [message.id for message in messages]

    assert found() == []
    settings.CAS_METRICS_ALLOW = ["everybody"]
    settings.CAS_METRICS_TOKEN = "short"
    assert found() == ["casproject.E010", "casproject.E011"]


def test_age_of_what_waits_is_that_of_the_oldest_file(client: Client, tmp_path: Path) -> None:
    name = "cas_oldest_waiting_event_seconds"
    assert values(read(client))[name] == 0
    begun = time.time()
    write_ahead.append(make_event())
    journal.append(make_event(timestamp_ns=int((begun - 100) * 1e9)))
    assert 100 <= values(read(client))[name] <= 100 + time.time() - begun
