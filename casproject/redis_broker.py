"""Redis as the broker, for workers that outlast a connection that broke while a message was acknowledged."""

from typing import Any

from kombu.transport import redis, virtual


class QoS(redis.QoS):
    """Forgets a message whose acknowledgement did not reach Redis.

    Else a worker that may hold one message at a time would take no other, ask Redis for none, and so never learn that
    its connection is gone.
    """

    def ack(self, delivery_tag: Any) -> None:
        """Acknowledge; raises what Redis's client raises."""
        try:
            super().ack(delivery_tag)
        except Exception:
            virtual.QoS.ack(self, delivery_tag)
            raise


class Channel(redis.Channel):
    QoS = QoS


class Transport(redis.Transport):
    """Without Celery's event loop, which forgets such a connection, and then waits for ever for nothing."""

    Channel = Channel
    implements = redis.Transport.implements.extend(asynchronous=False)
