"""A worker on a machine of its own shows what it counted."""

import http.client
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from django.conf import settings as project_settings
from pytest_django import Settings

from casproject.observability import worker_port
from casproject.observability.sharing import Sharing
from common.metrics import METRICS
from tests.casproject.observability.test_scrape import values
from tests.servers import accepts, free_port, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

WORKER = """
import sys
import django
django.setup()
from audit import metrics
from casproject import celery

celery.share_metrics()  # as worker_init does
metrics.PUBLISHED.add(1000, "acked")
metrics.UNREACHABLE.add(5)
sys.stdin.read()
"""


@pytest.fixture
def port() -> int:
    """Of a server that goes on until the process ends."""
    port = free_port()
    worker_port.serve("127.0.0.1", port)
    wait_until(lambda: accepts(port))
    return port


def test_metrics_and_nothing_else_is_served(port: int) -> None:
    answer = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10)
    assert answer.status_code == 200
    assert "cas_publish_unreachable_total" in answer.text
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert requests.head(f"http://127.0.0.1:{port}/metrics", timeout=10).content == b""
    assert requests.post(f"http://127.0.0.1:{port}/metrics", timeout=10).status_code == 405
    for path in ("/", "/admin/", "/metrics/../admin/"):
        assert requests.get(f"http://127.0.0.1:{port}{path}", timeout=10).status_code == 404


def test_it_is_for_the_same_clients_as_the_web_servers(port: int, settings: Settings) -> None:
    settings.CAS_METRICS_ALLOW = []
    assert requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).status_code == 403
    settings.CAS_METRICS_TOKEN = "0123456789abcdef"
    headers = {"Authorization": "Bearer 0123456789abcdef"}
    assert requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).status_code == 401
    assert requests.get(f"http://127.0.0.1:{port}/metrics", headers=headers, timeout=10).status_code == 200


def test_a_client_that_says_nothing_holds_up_no_other(port: int) -> None:
    silent = http.client.HTTPConnection("127.0.0.1", port)
    silent.connect()
    assert requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).ok
    silent.close()


def test_a_port_that_is_taken_is_left_to_who_has_it(port: int, caplog: pytest.LogCaptureFixture) -> None:
    worker_port.serve("127.0.0.1", port)
    wait_until(lambda: "is not served" in caplog.text)
    assert requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).ok


def test_what_a_worker_counted_is_shown_once_and_stays_so_when_it_ends(tmp_path: Path) -> None:
    port = free_port()
    environment = {"CAS_DATA_DIR": str(tmp_path), "CAS_HOST": "127.0.0.1", "CAS_METRICS_PORT": str(port)}
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER],
        cwd=Path(project_settings.BASE_DIR),
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "casproject.settings", **environment},
        stdin=subprocess.PIPE,
    )

    def shown() -> dict[str, float]:
        return values(requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text)

    try:
        wait_until(lambda: accepts(port), 60)
        wait_until(lambda: shown()["cas_publish_unreachable_total"])
        for _ in range(2):  # the second finds what the first wrote
            found = shown()
            assert found["cas_publish_unreachable_total"] == 5
            assert found['cas_publish_results_total{result="acked"}'] == 1000
            assert (found["cas_metrics_processes"], found["cas_transfer_slots"]) == (1, 0)
    finally:
        worker.communicate()
    assert worker.returncode == 0
    mine = Sharing(tmp_path / "metrics")
    for left in (1, 0):  # swept or not
        assert counted_by_others(mine, "cas_publish_unreachable_total") == 5
        assert counted_by_others(mine, "cas_publish_results_total", "acked") == 1000
        assert mine.sweep() == left


def counted_by_others(sharing: Sharing, name: str, *labels: str) -> float:
    """What it tells beyond what this process, where other tests have run, has counted itself."""
    told, own = sharing.collect().counts[name], METRICS[name].read()
    return told[labels][0] - own.get(labels, [0])[0]
