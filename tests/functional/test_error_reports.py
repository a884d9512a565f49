"""What Sentry gets of a server that fails: the error, and no secret."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from artifacts.tokens import DOWNLOADER
from tests.factories import digest_of
from tests.functional.stack import SECONDS, LiveStack, Tenant
from tests.receivers import Receiver
from tests.servers import wait_until

KEY = "5e27a3c1d0d04e5f8a1b2c3d4e5f6071"


@pytest.fixture(scope="module")
def sentry() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def reporting(tmp_path_factory: pytest.TempPathFactory, sentry: Receiver) -> Iterator[LiveStack]:
    dsn = sentry.url.replace("http://", f"http://{KEY}@") + "/42"
    stack = LiveStack(tmp_path_factory.mktemp("stack"), None, SENTRY_DSN=dsn)
    stack.prepare()
    stack.start("web")
    yield stack
    stack.stop()


def events(sentry: Receiver) -> list[dict[str, Any]]:
    """All that came so far; an envelope is lines of JSON, an item's head before each item."""
    found = []
    for each in list(sentry.received):
        assert each.path == "/api/42/envelope/"
        lines = [json.loads(line) for line in each.body.splitlines() if line]
        found += [item for head, item in zip(lines[1::2], lines[2::2], strict=False) if head.get("type") == "event"]
    return found


def test_failure_is_reported_without_the_token(reporting: LiveStack, sentry: Receiver) -> None:
    tenant, content = Tenant(reporting), uuid.uuid4().bytes * 1000
    assert tenant.put(content).ok
    stored = reporting.path_of(content)
    stored.unlink()
    stored.mkdir()  # whoever opens it fails
    token = tenant.headers(DOWNLOADER)["Authorization"].partition(" ")[2]
    answer = requests.get(f"{reporting.url}/download/{digest_of(content)}", params={"t": token}, timeout=SECONDS)
    assert answer.status_code == 502
    wait_until(lambda: events(sentry), SECONDS, "an event")
    (event,) = events(sentry)
    assert event["tags"]["request_id"] == answer.headers["X-Request-ID"]
    assert event["level"] == "error"
    assert "artifact_corrupt" in json.dumps(event["logentry"])
    assert event["exception"]["values"]
    everything = b"".join(each.body for each in sentry.received).decode(errors="replace")
    for secret in (token, token.split(".")[1], token.split(".")[2], "eyJ"):
        assert secret not in everything
