"""The logs of a whole stack, as JSON, with all lines on: every transfer is there, and no secret ever is."""

import json
import re
import time
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import requests

from artifacts.tokens import DOWNLOADER, UPLOADER
from tests.factories import digest_of, make_token
from tests.functional.stack import SECONDS, LiveStack, Tenant
from tests.servers import NatsServer, wait_until

NATS_TOKEN = "nats-s3cr3t-5d41402abc"
METRICS_TOKEN = "metrics-s3cr3t-7d793037a0"


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    nats = NatsServer(tmp_path_factory.mktemp("nats"), "--auth", NATS_TOKEN)
    nats.url = f"nats://{NATS_TOKEN}@127.0.0.1:{nats.port}"
    stack = LiveStack(
        tmp_path_factory.mktemp("stack"),
        nats,
        CAS_LOG_FORMAT="json",
        CAS_ACCESS_LOG="true",
        CAS_LOG_LEVEL="DEBUG",
        CAS_METRICS_TOKEN=METRICS_TOKEN,
    )
    stack.prepare()
    stack.start()
    yield stack
    stack.stop()


def everything(stack: LiveStack) -> str:
    return "".join(stack.log(name) for name in ("web", "worker", "maintenance", "beat"))


def lines(stack: LiveStack, name: str = "web") -> list[dict[str, Any]]:
    """Those of the application; the server's own banner is not ours."""
    return [json.loads(line) for line in stack.log(name).splitlines() if line.startswith("{")]


def line_of(stack: LiveStack, request_id: str) -> dict[str, Any]:
    """The access line of this request."""
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        found[:] = [line for line in lines(stack) if line.get("request_id") == request_id and "status" in line]
        return bool(found)

    wait_until(is_there, SECONDS, f"the line of {request_id}")
    assert len(found) == 1
    return found[0]


def test_each_transfer_has_its_line(talkative: LiveStack) -> None:
    tenant, content = Tenant(talkative), uuid.uuid4().bytes * 100_000
    url = f"{talkative.url}/artifacts/{digest_of(content)}"
    for name, method, role, expected in [
        ("new", "PUT", UPLOADER, {"action": "upload", "result": "stored", "status": 201, "bytes": 1_600_000}),
        ("again", "PUT", UPLOADER, {"action": "upload", "result": "deduplicated", "status": 200, "bytes": 1_600_000}),
        ("whole", "GET", DOWNLOADER, {"action": "download", "result": "served", "status": 200, "bytes": 1_600_000}),
        ("refused", "GET", UPLOADER, {"action": "download", "result": "refused", "status": 403, "code": "wrong_role"}),
    ]:
        request_id = f"{name}-{tenant.organization}"
        body = content if method == "PUT" else None
        answer = requests.request(
            method, url, data=body, headers={**tenant.headers(role), "X-Request-ID": request_id}, timeout=SECONDS
        )
        assert answer.headers["X-Request-ID"] == request_id
        line = line_of(talkative, request_id)
        assert expected.items() <= line.items()
        assert (line["method"], line["path"]) == (method, f"/artifacts/{digest_of(content)}")
        if line["status"] < 300:
            assert line["digest"] == digest_of(content).hex
            assert (line["organization"], line["location"]) == (tenant.organization, "FILESYSTEM/default")
        assert line["duration_ms"] > 0


def test_task_tells_which_request_woke_it(talkative: LiveStack) -> None:
    tenant = Tenant(talkative)
    sent = set()

    def is_told() -> bool:
        # Of requests that come together, one wakes the worker, and beat may come before it: so several are sent.
        request_id = tenant.put(uuid.uuid4().bytes).headers["X-Request-ID"]
        assert re.fullmatch("[0-9a-f]{24}", request_id)
        sent.add(request_id)
        time.sleep(0.2)
        return any(line.get("request_id") in sent for line in lines(talkative, "worker"))

    wait_until(is_told, SECONDS, "the worker speaks of a request")


def test_no_log_of_any_process_ever_holds_a_secret(talkative: LiveStack) -> None:
    tenant, content = Tenant(talkative), uuid.uuid4().bytes
    url, path = talkative.url, f"/artifacts/{digest_of(content)}"
    up, down = (tenant.headers(role)["Authorization"].removeprefix("Bearer ") for role in (UPLOADER, DOWNLOADER))
    forged = make_token(UPLOADER, key=tenant.stack.private_key, exp=1)
    claims: dict[str, Any] = {"secret-id": "nowhere"}
    other = make_token(DOWNLOADER, key=tenant.stack.private_key, **claims)
    password = "p4ssw0rd-9f86d081884c"
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("PUT", path, {"headers": {"Authorization": f"Bearer {up}"}, "data": content}),
        ("GET", path, {"headers": {"Authorization": f"Bearer {down}"}}),
        ("GET", f"/download/{digest_of(content)}", {"params": {"t": down, "filename": "a.txt"}}),
        ("GET", f"/download/{digest_of(content)}", {"params": {"t": other}}),
        ("GET", f"/artifacts/{down}", {"headers": {"Authorization": f"Bearer {down}"}}),
        ("GET", f"/{down}", {}),
        ("PUT", path, {"headers": {"Authorization": f"Bearer {forged}"}, "data": content}),
        ("POST", "/uploads/", {"headers": {"Authorization": f"Bearer {up}", "Tus-Resumable": "1.0.0"}}),
        ("GET", "/api/events/", {"auth": ("admin", password)}),
        ("POST", "/admin/login/", {"data": {"username": "admin", "password": password}}),
        ("GET", "/metrics", {"headers": {"Authorization": f"Bearer {METRICS_TOKEN}"}}),
        ("GET", "/metrics", {"headers": {"Authorization": f"Bearer {METRICS_TOKEN}x", "X-Forwarded-For": "::1"}}),
    ]
    for method, address, options in calls:
        requests.request(method, url + address, timeout=SECONDS, **options)

    talkative.root.rename(talkative.root.with_name("aside"))  # a 5xx with a traceback
    try:
        failed = requests.get(f"{url}{path}", headers={"Authorization": f"Bearer {down}"}, timeout=SECONDS)
        assert failed.status_code >= 500
    finally:
        talkative.root.with_name("aside").rename(talkative.root)
    assert talkative.nats is not None
    talkative.nats.stop()  # and a worker that cannot connect, and says where to
    try:
        assert tenant.put(uuid.uuid4().bytes).ok
        wait_until(lambda: "NATS is not reachable" in talkative.log("worker"), SECONDS, "the worker complains")
    finally:
        talkative.nats.start()

    def is_told() -> bool:
        return any(line.get("request_id") == failed.headers["X-Request-ID"] for line in lines(talkative))

    wait_until(is_told, SECONDS, "the last request is in the log")
    log = everything(talkative)
    secret_key = talkative.environment["CAS_SECRET_KEY"]
    for secret in (up, down, forged, other, password, NATS_TOKEN, METRICS_TOKEN, secret_key):
        assert secret not in log
        assert secret[10:40] not in log  # nor a part of it
    assert "Bearer" not in log.replace("Bearer [redacted]", "")


def test_nothing_that_a_client_sends_makes_a_line_of_its_own(talkative: LiveStack) -> None:
    tenant, content = Tenant(talkative), uuid.uuid4().bytes
    marker = uuid.uuid4().hex
    forged = f'x\n{{"level":"CRITICAL","{marker}":1}}\r\n'
    for address in [f"/artifacts/{digest_of(content)}", f"/artifacts/{quote(forged)}", f"/{quote(forged)}"]:
        requests.put(
            talkative.url + address,
            content,
            params={"filename": forged},
            headers=tenant.headers(UPLOADER),
            timeout=SECONDS,
        )
    claims: dict[str, Any] = {"org-id": forged, "secret-id": forged}
    token = make_token(UPLOADER, key=talkative.private_key, **claims)
    answer = requests.put(
        f"{talkative.url}/artifacts/{digest_of(content)}",
        content,
        headers={"Authorization": f"Bearer {token}"},
        timeout=SECONDS,
    )
    line_of(talkative, answer.headers["X-Request-ID"])
    for name in ("web", "worker"):
        for line in talkative.log(name).splitlines():
            assert not line.startswith(f'{{"level":"CRITICAL","{marker}"')
            assert marker not in line or isinstance(json.loads(line), dict)
