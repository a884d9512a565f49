"""A worker on a machine of its own shows what it counted."""

import http.client

import pytest
import requests
from pytest_django import Settings

from casproject.observability import worker_port
from tests.servers import accepts, free_port, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


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
