"""What a stream answers to a message, and whether asking again can help. Pure: no Django, no NATS.

An answer is JetStream's PubAck: `{"stream", "seq", "duplicate"}`, or `{"error": {"code", "err_code", "description"}}`.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from common.storable_text import storable

# Refusals of this very message, by err_code (nats-server, server/errors.json). All others speak of the stream or
# the server: full, sealed, missing, without a leader. That is not the event's fault, and passes.
_FINAL_ERRORS = {
    10054,  # JSStreamMessageExceedsMaximumErr: larger than the stream's max_msg_size
    10097,  # JSStreamHeaderExceedsMaximumErr
}
_LONGEST_REASON = 300  # characters of what somebody answered
_BEYOND = 2**63  # what a database's integer cannot hold


@dataclass(frozen=True, slots=True)
class Ack:
    """The stream has the message; `is_duplicate` when it had it already."""

    sequence: int
    is_duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """No ack. The message may have arrived all the same, unless `is_permanent`: then it never will."""

    reason: str
    is_permanent: bool = False
    is_timeout: bool = field(default=False, compare=False)  # nobody answered


Outcome = Ack | Rejected


def read(data: bytes) -> Outcome:
    """What this answer means. One that is no PubAck, whoever sent it, is a rejection that may pass.

    Nothing is raised, and a database can hold what is returned.
    """
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        return _not_an_ack(data)
    if not isinstance(answer, dict):
        return _not_an_ack(data)
    if (error := answer.get("error")) is not None:
        return _refusal(error, data)
    sequence = answer.get("seq")
    if type(sequence) is not int or not 1 <= sequence < _BEYOND:
        return _not_an_ack(data)
    return Ack(sequence, answer.get("duplicate") is True)


def _refusal(error: Any, data: bytes) -> Rejected:
    if not isinstance(error, dict):
        return _not_an_ack(data)
    description, number = error.get("description"), error.get("err_code", 0)  # NATS leaves out a 0
    if not isinstance(description, str) or type(number) is not int:
        return _not_an_ack(data)
    reason = f"{description} (JetStream error {number})"
    return Rejected(storable(reason[:_LONGEST_REASON]), is_permanent=number in _FINAL_ERRORS)


def _not_an_ack(data: bytes) -> Rejected:
    return Rejected(f"the answer is no ack: {data[:_LONGEST_REASON].decode(errors='replace')!r}")
