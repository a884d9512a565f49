"""What a stream's answer means."""

import json

import pytest

from audit import answers
from audit.answers import Ack, Rejected


def refusal(code: int, err_code: int, description: str) -> bytes:
    error = {"code": code, "err_code": err_code, "description": description}
    return json.dumps({"error": error, "stream": "audit", "seq": 0}).encode()


def test_sequence_is_an_ack() -> None:
    assert answers.read(b'{"stream":"audit","seq":7}') == Ack(7)


def test_duplicate_is_an_ack_that_says_so() -> None:
    assert answers.read(b'{"stream":"audit","seq":7,"duplicate":true}') == Ack(7, is_duplicate=True)


@pytest.mark.parametrize("err_code", [10054, 10097])
def test_refusal_of_this_very_message_is_final(err_code: int) -> None:
    outcome = answers.read(refusal(400, err_code, "it is too large"))
    assert outcome == Rejected(f"it is too large (JetStream error {err_code})", is_permanent=True)


@pytest.mark.parametrize(
    ("code", "err_code"),
    [
        (503, 10077),  # the store failed: full, by its own limits or the disk's
        (400, 10002),  # the account's limits
        (503, 10008),  # no leader
        (400, 10109),  # sealed
        (409, 10158),  # the same message is on its way
        (429, 10167),  # too much at once
        (400, 10169),  # a stream of counters
        (500, 99999),  # what is not known
    ],
)
def test_refusal_that_speaks_of_the_stream_or_the_server_passes(code: int, err_code: int) -> None:
    outcome = answers.read(refusal(code, err_code, "not now"))
    assert outcome == Rejected(f"not now (JetStream error {err_code})")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"[]",
        b"null",
        b"7",
        b"{}",
        b'{"seq":0}',
        b'{"seq":"7"}',
        b'{"seq":true}',
        b'{"seq":7.0}',
        b'{"seq":9223372036854775808}',  # more than a database's integer
        b'{"error":"text"}',
        b'{"error":{}}',
        b'{"error":{"description":[]}}',
        b'{"error":{"description":"not now","err_code":[]}}',
        b'{"error":{"description":"not now","err_code":10054.0}}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_ack_is_a_rejection_that_passes(data: bytes) -> None:
    outcome = answers.read(data)
    assert isinstance(outcome, Rejected)
    assert not outcome.is_permanent
    assert "no ack" in outcome.reason


def test_largest_sequence_that_a_database_holds_is_an_ack() -> None:
    assert answers.read(b'{"seq":9223372036854775807}') == Ack(2**63 - 1)


def test_reason_has_a_mark_where_a_database_could_not_hold_what_was_said() -> None:
    assert answers.read(refusal(400, 7, "a\0b\ud800c")) == Rejected("a\ufffdb\ufffdc (JetStream error 7)")


def test_reason_is_no_longer_than_a_person_reads() -> None:
    for data in (b"x" * 10_000, refusal(400, 1, "x" * 10_000)):
        outcome = answers.read(data)
        assert isinstance(outcome, Rejected)
        assert len(outcome.reason) < 400
