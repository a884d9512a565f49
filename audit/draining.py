"""Takes what a consumer has, batch by batch; what is applied is acked after that."""

import time
from collections.abc import Callable, Iterator, Sequence

from audit.consumer import Consumer, Received, Unreachable

_WAIT = 1.0  # seconds, the longest that a stop goes unheard


def read_all(consumer: Consumer) -> Iterator[list[Received]]:
    """What a nameless consumer has when this begins, and not what comes meanwhile, which might never end."""
    left = consumer.standing().waiting
    while left > 0:
        messages = consumer.read()
        if not messages and not consumer.standing().waiting:
            return  # the rest was removed meanwhile
        if messages:
            yield messages
        left -= len(messages)


def drain(
    consumer: Consumer,
    apply: Callable[[Sequence[Received]], None],
    *,
    should_stop: Callable[[], bool],
    is_patient: bool = True,
) -> int:
    """Take all that is there; return how many messages still are somebody else's, unacked.

    If patient, it waits for messages that an earlier reader took and did not ack: they come again, unless that one
    is still at work with them.
    Raises StreamError, and what `apply` raises; the messages of that batch come again.
    """
    waited_since = time.monotonic()
    while not should_stop():
        messages = consumer.read()
        if not messages:
            standing = consumer.standing()
            if not standing.waiting and not (standing.unacked and is_patient):
                return standing.unacked
            if time.monotonic() - waited_since > standing.ack_wait + 2 * _WAIT:
                return standing.unacked
            messages = consumer.read(_WAIT)
        if messages:
            waited_since = time.monotonic()
            apply(messages)
            consumer.ack(messages)
    return 0


def follow(
    consumer: Consumer,
    apply: Callable[[Sequence[Received]], None],
    *,
    should_stop: Callable[[], bool],
    say: Callable[[str], None],
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Take what is there and what comes, whether NATS goes away meanwhile, until told to stop; raises Refused.

    `tick` is called after each batch, and every second or so when none comes.
    """
    is_lost = False
    while not should_stop():
        try:
            if is_lost:
                consumer.connect()
                say("NATS is back.")
                is_lost = False
            if messages := consumer.read(_WAIT):
                apply(messages)
                consumer.ack(messages)
            tick()
        except Unreachable as error:
            if not is_lost:
                say(f"{error} Trying again every second.")
            is_lost = True
            time.sleep(_WAIT)
