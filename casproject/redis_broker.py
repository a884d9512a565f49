"""Redis as the broker, without Celery's event loop.

That forgets a Redis connection that broke while a message was acknowledged, and then waits for ever for nothing.
Without it a worker asks Redis itself, and connects again.
"""

from kombu.transport import redis


class Transport(redis.Transport):
    implements = redis.Transport.implements.extend(asynchronous=False)
