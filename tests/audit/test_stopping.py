"""Commands end cleanly when they are asked to."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from pytest_django import Settings

from audit import draining
from audit.consumer import Consumer, Received
from audit.management.stopping import Stopping
from tests.audit.streams import consumer_info, make_stream, publish_raw
from tests.servers import NatsServer, wait_until


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_asks_and_the_second_does_what_it_did_before(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Stopping() as stopping:
        assert not stopping()
        os.kill(os.getpid(), number)
        assert stopping()
        assert signal.getsignal(number) == before
    with Stopping():
        pass
    assert signal.getsignal(number) == before


def test_batch_that_was_begun_is_applied_and_acked_and_no_other_is_taken(tmp_path: Path, settings: Settings) -> None:
    server = NatsServer(tmp_path / "nats")
    server.start()
    settings.NATS_URL = server.url
    applied: list[Received] = []

    def apply(messages: Sequence[Received]) -> None:
        applied.extend(messages)
        os.kill(os.getpid(), signal.SIGTERM)

    try:
        make_stream(server.url)
        publish_raw(server.url, *(b"PUB audit.x 1\r\nx\r\n" for _ in range(1000)))
        with Stopping() as stopping, Consumer(name="reader") as consumer:
            draining.drain(consumer, apply, should_stop=stopping)
        assert 0 < len(applied) < 1000
        wait_until(lambda: consumer_info(server.url, "reader").num_ack_pending == 0, what="the server counts the acks")
        assert consumer_info(server.url, "reader").num_pending == 1000 - len(applied)
    finally:
        server.stop()
