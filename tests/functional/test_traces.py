"""Traces of a whole stack, as a collector gets them: one from the request through the task to the publish."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from artifacts.tokens import DOWNLOADER
from tests.factories import digest_of
from tests.functional.stack import SECONDS, LiveStack, Tenant
from tests.receivers import Receiver
from tests.servers import NatsServer, wait_until

Span = dict[str, Any]


@pytest.fixture(scope="module")
def collector() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def start_stack(folder: Path, collector: Receiver) -> LiveStack:
    """One whose next nudge is the first to publish: that of the web server's own start is gone."""
    stack = LiveStack(
        folder / "stack",
        NatsServer(folder / "nats"),
        CAS_WEB_WORKERS="1",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_BSP_SCHEDULE_DELAY="200",  # milliseconds
        CAS_SWEEP_SECONDS="3600",  # what beat publishes belongs to no request
    )
    stack.prepare()
    stack.start("web")
    wait_until(lambda: [*(stack.folder / "broker").glob("*.celery.msg")], SECONDS, "the start's nudge is sent")
    stack.start("worker", "beat")  # a worker throws away what it finds
    wait_until(lambda: "ready." in stack.log("worker"), SECONDS, "the worker takes nudges")
    return stack


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, collector: Receiver) -> Iterator[LiveStack]:
    stack = start_stack(tmp_path_factory.mktemp("traced"), collector)
    yield stack
    stack.stop()


@pytest.fixture
def untouched(tmp_path: Path, collector: Receiver) -> Iterator[LiveStack]:
    """One that no other test has nudged."""
    stack = start_stack(tmp_path, collector)
    yield stack
    stack.stop()


def spans(collector: Receiver) -> list[Span]:
    """All that came so far."""
    assert {each.path for each in collector.received} <= {"/v1/traces"}
    return [
        _read(span, _attributes(resource.resource)["cas.role"])
        for each in list(collector.received)
        for resource in ExportTraceServiceRequest.FromString(each.body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _read(span: Any, role: str) -> Span:
    ids = {"trace": span.trace_id, "id": span.span_id, "parent": span.parent_span_id}
    return {"name": span.name, "role": role, **{name: each.hex() for name, each in ids.items()}, **_attributes(span)}


def _attributes(owner: Any) -> dict[str, Any]:
    return {item.key: _value(item.value) for item in owner.attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(each) for each in value.array_value.values] if kind == "array_value" else getattr(value, kind)


def wait_for(collector: Receiver, name: str, **attributes: Any) -> Span:
    """The one span with this name and these attributes."""
    found: list[Span] = []

    def is_there() -> bool:
        found[:] = [one for one in spans(collector) if one["name"] == name and attributes.items() <= one.items()]
        return bool(found)

    wait_until(is_there, SECONDS, f"a span {name} with {attributes}")
    assert len(found) == 1
    return found[0]


def test_one_trace_from_the_clients_span_to_the_publish(untouched: LiveStack, collector: Receiver) -> None:
    tenant, content = Tenant(untouched), uuid.uuid4().bytes
    trace, parent = os.urandom(16).hex(), os.urandom(8).hex()
    headers = {**tenant.headers("uploader"), "traceparent": f"00-{trace}-{parent}-01"}
    answer = requests.put(f"{untouched.url}/artifacts/{digest_of(content)}", content, headers=headers, timeout=SECONDS)
    assert answer.status_code == 201
    (row,) = tenant.wait_for_published(1)

    request = wait_for(collector, "PUT artifacts", trace=trace)
    assert (request["parent"], request["role"]) == (parent, "web")
    task = wait_for(collector, "audit.tasks.publish_pending", trace=trace)
    assert (task["parent"], task["role"]) == (request["id"], "worker")
    publish = wait_for(collector, "publish", trace=trace)
    assert publish["parent"] == task["id"]
    # Another event may have waited, as a location's made when the stack began.
    assert str(uuid.UUID(row["event_id"])) in publish["cas.event_ids"]
    assert publish["cas.events.acked"] == publish["messaging.batch.message_count"] == len(publish["cas.event_ids"])

    assert request["cas.digest"] == digest_of(content).hex
    assert request["cas.organization"] == tenant.organization
    assert request["cas.location"] == "FILESYSTEM/default"
    assert (request["cas.action"], request["cas.result"], request["cas.bytes"]) == ("upload", "stored", 16)
    assert request["cas.request_id"] == answer.headers["X-Request-ID"]
    assert request["http.response.status_code"] == 201


def test_no_token_is_in_a_trace(traced: LiveStack, collector: Receiver) -> None:
    tenant, content = Tenant(traced), uuid.uuid4().bytes
    assert tenant.put(content).ok
    token = tenant.headers(DOWNLOADER)["Authorization"].partition(" ")[2]
    url = f"{traced.url}/download/{digest_of(content)}"
    answers = [
        requests.get(url, params={"t": token}, timeout=SECONDS),
        requests.get(f"{traced.url}/artifacts/{token}", params={"t": "not-a-jwt-but-secret"}, timeout=SECONDS),
    ]
    assert [answer.status_code for answer in answers] == [200, 401]
    found = [wait_for(collector, "GET download", **{"cas.digest": digest_of(content).hex})]
    found.append(wait_for(collector, "GET artifacts", **{"cas.request_id": answers[1].headers["X-Request-ID"]}))
    assert found[0]["url.path"] == f"/download/{digest_of(content)}"
    assert found[1]["error.type"] == "invalid_token"
    everything = b"".join(each.body for each in collector.received).decode(errors="replace")
    assert digest_of(content).hex in everything
    for secret in (token, token.split(".")[2], token.split(".")[1], "not-a-jwt-but-secret", "eyJ"):
        assert secret not in everything


def test_probes_and_sweeps_that_find_nothing_make_no_trace(traced: LiveStack, collector: Receiver) -> None:
    for path in ("livez", "readyz", "metrics"):
        assert requests.get(f"{traced.url}/{path}", timeout=SECONDS).ok
    assert requests.get(f"{traced.url}/api/schema/", timeout=SECONDS).ok
    wait_for(collector, "GET api")
    names = {span["name"] for span in spans(collector)}
    assert names <= {
        "PUT artifacts",
        "GET artifacts",
        "GET download",
        "GET api",
        "publish",
        "audit.tasks.publish_pending",
    }


def test_collector_that_is_gone_fails_no_transfer(tmp_path_factory: pytest.TempPathFactory) -> None:
    stack = LiveStack(tmp_path_factory.mktemp("lonely"), None, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    stack.prepare()
    stack.start("web")
    try:
        tenant, content = Tenant(stack), uuid.uuid4().bytes
        assert tenant.put(content).status_code == 201
        assert tenant.get(content).content == content
    finally:
        stack.stop()
