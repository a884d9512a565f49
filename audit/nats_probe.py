"""What can be told of NATS and the stream without publishing anything or changing anything."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

import nats.errors
from nats.js.api import StreamInfo
from nats.js.errors import APIError, NotFoundError

from audit.connection import NatsClient
from audit.names import STREAM

CONNECT_TIMEOUT = 3  # seconds
ANSWER_TIMEOUT = 2.0  # seconds

# Of what the publisher publishes to: transfers, checkpoints of the trail, what people do in the admin.
SUBJECTS = (
    "audit.casartifact.casartifactuploaded",
    "audit.castrail.castrailcheckpointed",
    "audit.casuser.casusersignedin",
)

_USER_INFO = "$SYS.REQ.USER.INFO"  # answers any client about itself, if it may ask


class ProbeError(Exception):
    """NATS cannot be reached, or does not let us in; the text says why."""


@dataclass(frozen=True, slots=True)
class NatsReport:
    """What NATS says. None stands for what it does not tell us."""

    server: str
    version: str
    is_encrypted: bool
    round_trip: float  # seconds
    has_jetstream: bool
    forbidden: list[str] | None  # of SUBJECTS, those that our user may not publish to
    stream: StreamInfo | None
    stream_problem: str = ""
    untaken: list[str] = field(default_factory=list)  # of SUBJECTS, those that the stream does not take


def probe(url: str, stream: str = STREAM) -> NatsReport:
    """Connect as everything of ours does, and ask; raises ProbeError."""
    try:
        return asyncio.run(_probe(url, stream))
    except (nats.errors.Error, OSError, TimeoutError) as error:
        raise ProbeError(str(error) or type(error).__name__) from error


async def _probe(url: str, stream: str) -> NatsReport:
    client = NatsClient()
    await asyncio.wait_for(
        client.connect_as_configured(url, name="artifact-cas-doctor", connect_timeout=CONNECT_TIMEOUT, error_cb=_quiet),
        CONNECT_TIMEOUT * (url.count(",") + 1.5),
    )
    try:
        started = time.monotonic()
        await client.flush(timeout=int(ANSWER_TIMEOUT))
        round_trip = time.monotonic() - started
        info, problem = await _stream(client, stream)
        taken = (info.config.subjects or []) if info else []
        return NatsReport(
            server=f"{client.connected_url.hostname}:{client.connected_url.port}" if client.connected_url else "",
            version=str(client._server_info.get("version", "")),
            is_encrypted=bool(client._server_info.get("tls_required")),
            round_trip=round_trip,
            has_jetstream=bool(client._server_info.get("jetstream")),
            forbidden=await _forbidden(client),
            stream=info,
            stream_problem=problem,
            untaken=[each for each in SUBJECTS if info and not any(matches(pattern, each) for pattern in taken)],
        )
    finally:
        await asyncio.wait([asyncio.ensure_future(client.close())], timeout=ANSWER_TIMEOUT)


async def _stream(client: NatsClient, stream: str) -> tuple[StreamInfo | None, str]:
    try:
        return await client.jetstream(timeout=ANSWER_TIMEOUT).stream_info(stream), ""
    except NotFoundError:
        return None, "missing"
    except APIError as error:
        return None, str(error.description)
    except (nats.errors.Error, TimeoutError):
        return None, "not told"  # our user may not ask, or JetStream has no leader now


async def _forbidden(client: NatsClient) -> list[str] | None:
    try:
        answer = await client.request(_USER_INFO, b"", timeout=ANSWER_TIMEOUT)
        permissions = (json.loads(answer.data).get("data") or {}).get("permissions") or {}
    except (nats.errors.Error, TimeoutError, ValueError, AttributeError):
        return None
    rules = permissions.get("publish") or {}
    return [subject for subject in SUBJECTS if not may_publish(rules, subject)]


def may_publish(rules: dict[str, Any], subject: str) -> bool:
    """Whether a user's permissions (`{"allow": […], "deny": […]}`) let it publish to a subject."""
    allowed = rules.get("allow") or [">"]
    denied = rules.get("deny") or []
    return any(matches(each, subject) for each in allowed) and not any(matches(each, subject) for each in denied)


def matches(pattern: str, subject: str) -> bool:
    """Whether a subject is one of a pattern's, whose `*` is any one part, and whose last `>` any that follow."""
    parts, tokens = pattern.split("."), subject.split(".")
    if parts[-1] == ">" and len(tokens) >= len(parts):
        parts, tokens = parts[:-1], tokens[: len(parts) - 1]
    return len(parts) == len(tokens) and all(part in {"*", token} for part, token in zip(parts, tokens, strict=True))


async def _quiet(error: Exception) -> None:
    """The probe's own error says it."""
