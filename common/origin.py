"""Where work comes from: what a request hands on to the task that it wakes, so that logs and traces can tell."""

from contextvars import ContextVar

REQUEST_ID = "cas-request-id"
TRACEPARENT = "traceparent"  # W3C Trace Context

ORIGIN: ContextVar[dict[str, str]] = ContextVar("origin", default={})  # noqa: B039  (never changed in place)


def request_id() -> str:
    """Of the request that this thread works for; "" when it works for none."""
    return ORIGIN.get().get(REQUEST_ID, "")
