"""A worker over Redis goes on after its connection broke, whatever it was doing."""

from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Consumer, Producer, Queue

from casproject.redis_broker import Transport
from tests.servers import BrokerServer


def test_message_whose_acknowledgement_is_lost_keeps_no_worker_from_the_next(tmp_path: Path) -> None:
    server = BrokerServer(tmp_path / "redis")
    server.start()
    taken: list[Any] = []
    try:
        with Connection(f"redis://127.0.0.1:{server.port}/0", transport=Transport) as connection:
            channel: Any = connection.channel()
            channel.basic_qos(prefetch_count=1)  # as a worker's is
            queue = Queue("celery", channel=channel)
            Producer(channel).publish({}, routing_key="celery", declare=[queue])
            with Consumer(channel, queue, callbacks=[lambda body, message: taken.append(message)]):
                connection.drain_events(timeout=5)
                server.stop()
                with pytest.raises(connection.connection_errors):
                    taken[0].ack()
                with pytest.raises(connection.connection_errors):  # which tells a worker to connect again
                    connection.drain_events(timeout=5)
    finally:
        server.stop()
