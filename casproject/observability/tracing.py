"""OpenTelemetry traces: request -> task -> publish. Loaded only when they are switched on (docs/observability.md).

Spans are made by hand: at the server's edge, around a task that a request woke, and around each batch that is
published. Nothing is in them but what stands below; never an address's query, a header, or a statement of SQL.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.util import Finalize
from typing import Any

from celery import signals
from django.conf import settings
from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from casproject.observability.exchange import Exchange
from casproject.observability.redaction import redact
from casproject.version import VERSION
from common import tracing
from common.origin import ORIGIN, TRACEPARENT
from common.tracing import Attributes, Note

_SILENT = frozenset({"livez", "readyz", "metrics", "static"})
_LONGEST = 256  # characters of what clients choose

_propagator = TraceContextTextMapPropagator()


class Requests:
    """Spans of requests, children of what a request's own `traceparent` names."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def begin(self, exchange: Exchange) -> dict[str, str]:
        """Begin a request's span, and return what tells others of it."""
        if exchange.part in _SILENT:
            return {}
        span = exchange.span = self._tracer.start_span(
            f"{exchange.method[:_LONGEST]} {exchange.part}",
            context=_parent(exchange.environ.get("HTTP_TRACEPARENT", "")),
            kind=SpanKind.SERVER,
        )
        return _carrier(span)

    def end(self, exchange: Exchange) -> None:
        """End it, with what became of the request."""
        span: Span | None = exchange.span
        if span is None:
            return
        attributes: dict[str, str | int] = {
            "http.request.method": exchange.method[:_LONGEST],
            "url.path": redact(exchange.path)[:_LONGEST],
            "http.response.status_code": exchange.status,
            "cas.request_id": exchange.request_id,
            "error.type": exchange.code,
            "cas.action": exchange.action,
            "cas.result": exchange.result if exchange.action else "",
            "cas.digest": exchange.digest,
        }
        if exchange.digest:
            attributes["cas.bytes"] = exchange.size_bytes
        if exchange.grant is not None:
            attributes["cas.organization"] = exchange.grant.org_id[:_LONGEST]
            attributes["cas.location"] = f"{exchange.grant.backend}/{exchange.grant.secret_id}"[:_LONGEST]
        span.set_attributes({name: value for name, value in attributes.items() if value != ""})
        if exchange.has_failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end()


def begin_web() -> Requests:
    """In a web server's process."""
    return Requests(_begin("web"))


def begin_worker() -> None:
    """In a Celery worker's: a task that a request woke is part of its trace. Sweeps, which find nothing, are not."""
    tracer = _begin("worker")
    under_way: dict[str, Any] = {}

    def begin(task_id: str, task: Any, **_: Any) -> None:
        if traceparent := task.request.get(TRACEPARENT):
            span = tracer.start_span(task.name, context=_parent(traceparent), kind=SpanKind.CONSUMER)
            under_way[task_id] = span, context.attach(trace.set_span_in_context(span))
            ORIGIN.set({**ORIGIN.get(), **_carrier(span)})

    def end(task_id: str, state: str | None = None, **_: Any) -> None:
        if task_id in under_way:
            span, token = under_way.pop(task_id)
            context.detach(token)
            if state == "FAILURE":
                span.set_status(Status(StatusCode.ERROR))
            span.end()

    signals.task_prerun.connect(begin, weak=False)
    signals.task_postrun.connect(end, weak=False)


def _begin(role: str) -> Tracer:
    """Have spans sent in batches from a thread of their own, the last when the process ends."""
    resource = Resource.create(
        {"service.name": settings.OTEL_SERVICE_NAME, "service.version": VERSION, "cas.role": role}
    )
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    Finalize(None, provider.shutdown, exitpriority=0)  # multiprocessing's processes, such as granian's, run no atexit
    tracer = provider.get_tracer("artifact-cas", VERSION)

    @contextmanager
    def record(name: str, attributes: Attributes) -> Iterator[Note]:
        with tracer.start_as_current_span(name, kind=SpanKind.PRODUCER, attributes=dict(attributes())) as span:
            yield span.set_attribute

    tracing.record_by(record)
    return tracer


def _parent(traceparent: str) -> Context:
    """The context that this names (W3C Trace Context); an empty one for what cannot be read."""
    return _propagator.extract({TRACEPARENT: traceparent}, context=Context())


def _carrier(span: Span) -> dict[str, str]:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context=trace.set_span_in_context(span, Context()))
    return carrier
