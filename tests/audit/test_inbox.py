"""Which answer belongs to which message."""

import asyncio
import time

from audit.answers import Ack, Rejected
from audit.inbox import Inbox

SUBJECT = "audit.a"


def test_answers_are_taken_by_their_reply_in_whatever_order() -> None:
    inbox = Inbox("_INBOX.a")
    with inbox.expect([SUBJECT, SUBJECT, SUBJECT]) as batch:
        assert len(set(batch.replies)) == 3
        for position in (2, 0, 1):
            inbox.settle(batch.replies[position], Ack(position + 1))
    assert batch.outcomes == [Ack(1), Ack(2), Ack(3)]


def test_second_answer_to_a_message_is_dropped() -> None:
    inbox = Inbox("_INBOX.a")
    with inbox.expect([SUBJECT, SUBJECT]) as batch:
        inbox.settle(batch.replies[0], Ack(1))
        inbox.settle(batch.replies[0], Rejected("somebody else answered"))
    assert batch.outcomes == [Ack(1), None]


def test_answer_that_comes_too_late_is_dropped_and_settles_no_later_batch() -> None:
    inbox = Inbox("_INBOX.a")
    with inbox.expect([SUBJECT]) as first:
        pass
    with inbox.expect([SUBJECT]) as second:
        inbox.settle(first.replies[0], Ack(1))
    assert (first.outcomes, second.outcomes) == ([None], [None])


def test_what_nobody_asked_for_is_dropped() -> None:
    inbox = Inbox("_INBOX.a")
    with inbox.expect([SUBJECT]) as batch:
        inbox.settle("_INBOX.a.nonsense", Ack(1))
    assert batch.outcomes == [None]


def test_lost_connection_settles_what_waits_and_nothing_else() -> None:
    inbox = Inbox("_INBOX.a")
    lost = Rejected("lost")
    with inbox.expect([SUBJECT, SUBJECT]) as batch:
        inbox.settle(batch.replies[1], Ack(7))
        inbox.settle_all(lost)
    assert batch.outcomes == [lost, Ack(7)]


def test_subject_that_is_refused_settles_its_messages_alone() -> None:
    inbox = Inbox("_INBOX.a")
    refused = Rejected("refused")
    with inbox.expect(["audit.A", "audit.b", "audit.A"]) as batch:
        inbox.settle_all(refused, "audit.a")
    assert batch.outcomes == [refused, None, refused]


def test_waiting_ends_with_the_last_answer() -> None:
    async def run() -> float:
        inbox = Inbox("_INBOX.a")
        with inbox.expect([SUBJECT, SUBJECT]) as batch:
            for number, reply in enumerate(batch.replies):
                asyncio.get_running_loop().call_soon(inbox.settle, reply, Ack(number + 1))
            started = time.monotonic()
            await batch.wait(30)
            assert batch.outcomes == [Ack(1), Ack(2)]
            return time.monotonic() - started

    assert asyncio.run(run()) < 15


def test_waiting_for_answers_that_do_not_come_ends_in_time() -> None:
    async def run() -> None:
        inbox = Inbox("_INBOX.a")
        with inbox.expect([SUBJECT, SUBJECT]) as batch:
            inbox.settle(batch.replies[0], Ack(1))
            await batch.wait(0.01)
        assert batch.outcomes == [Ack(1), None]

    asyncio.run(run())


def test_batch_of_nothing_is_not_waited_for() -> None:
    async def run() -> None:
        with Inbox("_INBOX.a").expect([]) as batch:
            await asyncio.wait_for(batch.wait(30), 15)
        assert batch.outcomes == []

    asyncio.run(run())
