"""Where the answers to pipelined messages come in: one subscription, a reply subject of its own for each message.

For the loop's thread alone.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count

from audit.answers import Outcome


class Batch:
    """What became of each message, as far as it is known."""

    def __init__(self, subjects: Sequence[str]) -> None:
        self.subjects = subjects
        self.outcomes: list[Outcome | None] = [None] * len(subjects)
        self.replies: list[str] = []
        self._unsettled = len(subjects)
        self._is_settled = asyncio.Event()

    def settle(self, position: int, outcome: Outcome) -> None:
        self.outcomes[position] = outcome
        self._unsettled -= 1
        if not self._unsettled:
            self._is_settled.set()

    async def wait(self, seconds: float) -> None:
        """Return once every message is settled, or the time is over."""
        try:
            async with asyncio.timeout(seconds if self._unsettled else 0):
                await self._is_settled.wait()
        except TimeoutError:
            pass


class Inbox:
    """The messages of one connection that wait for their answers.

    `complaint` is what the server last said that is no answer to any of them.
    """

    def __init__(self, prefix: str) -> None:
        self.subject = f"{prefix}.*"
        self._prefix = prefix
        self._numbers = count()
        self.complaint = ""
        self._waiting: dict[str, tuple[Batch, int]] = {}

    @contextmanager
    def expect(self, subjects: Sequence[str]) -> Iterator[Batch]:
        """A batch of messages to these subjects, whose answers are taken while the block runs at its `replies`."""
        batch = Batch(subjects)
        batch.replies = [f"{self._prefix}.{number}" for _, number in zip(subjects, self._numbers, strict=False)]
        self._waiting.update({reply: (batch, position) for position, reply in enumerate(batch.replies)})
        try:
            yield batch
        finally:
            for reply in batch.replies:
                self._waiting.pop(reply, None)

    def settle(self, reply: str, outcome: Outcome) -> None:
        """Take an outcome; a second one for the same message, or one that comes too late, is dropped."""
        if (waiting := self._waiting.pop(reply, None)) is not None:
            batch, position = waiting
            batch.settle(position, outcome)

    def settle_all(self, outcome: Outcome, subject: str = "") -> None:
        """Take this outcome for every message that still waits; only those to a subject, in whatever case, if given."""
        for reply, (batch, position) in list(self._waiting.items()):
            if not subject or batch.subjects[position].lower() == subject.lower():
                self.settle(reply, outcome)
