"""NATS and the stream."""

from collections.abc import Iterator

from django.conf import settings

from audit.names import STREAM
from audit.nats_probe import NatsReport, ProbeError, probe
from casproject.doctor.findings import Finding, fail, ok, warn

NATS, STREAM_PART = "NATS", "stream"
REMEDY = "Is NATS_URL right, and are the credentials (docs/operations.md, “Access to NATS”)? Events wait for it."


def examine() -> Iterator[Finding]:
    """Connect, and ask who we are, what we may, and what the stream takes."""
    if not settings.NATS_URL:
        yield ok(NATS, "not configured: events are kept in the trail, and published nowhere")
        return
    try:
        report = probe(settings.NATS_URL)
    except ProbeError as error:
        yield fail(NATS, str(error), REMEDY)
        return
    encrypted = "encrypted" if report.is_encrypted else "not encrypted"
    milliseconds = report.round_trip * 1000
    yield ok(NATS, f"{report.version} at {report.server}, {encrypted}, {milliseconds:.1f} ms there and back")
    if not report.has_jetstream:
        yield fail(NATS, "the server has no JetStream", "Have its operator switch JetStream on.")
        return
    yield _permission(report)
    yield from _stream(report)


def _permission(report: NatsReport) -> Finding:
    if report.forbidden is None:
        remedy = "None is needed: a permission that is missing stands beside each pending event."
        return warn(NATS, "it does not tell whether we may publish", remedy)
    if report.forbidden:
        text = f"we may not publish to {', '.join(report.forbidden)}"
        return fail(NATS, text, "Our user needs to publish to audit.>.")
    return ok(NATS, "we may publish")


def _stream(report: NatsReport) -> Iterator[Finding]:
    if report.stream is None:
        if report.stream_problem == "missing":
            remedy = "Its owner creates it, or you in their place: `manage.py audit_stream create`."
            yield fail(STREAM_PART, f"there is no stream {STREAM}", remedy)
        else:
            remedy = f"None is needed, but a permission for $JS.API.STREAM.INFO.{STREAM} lets us look at it."
            yield warn(STREAM_PART, f"nothing is told of {STREAM} ({report.stream_problem})", remedy)
        return
    config, state = report.stream.config, report.stream.state
    subjects = ", ".join(config.subjects or [])
    if report.untaken:
        remedy = "Its owner should add audit.> to its subjects."
        yield fail(STREAM_PART, f"{STREAM} takes {subjects}, but not {', '.join(report.untaken)}", remedy)
    else:
        yield ok(STREAM_PART, f"{STREAM} takes {subjects}; {state.messages} messages, last sequence {state.last_seq}")
    if config.storage == "memory":
        remedy = "Its owner should keep it on files; the trail keeps every event all the same."
        yield warn(STREAM_PART, f"{STREAM} is kept in memory: a restart of NATS empties it", remedy)
