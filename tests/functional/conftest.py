import os
from collections.abc import Iterator

import pytest

from tests.functional.stack import LiveStack, Tenant
from tests.servers import NatsServer


@pytest.fixture(scope="session")
def _stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    stack = LiveStack(tmp_path_factory.mktemp("stack"), NatsServer(tmp_path_factory.mktemp("stack-nats")))
    stack.prepare()
    stack.start()
    yield stack
    stack.stop()


@pytest.fixture
def stack(_stack: LiveStack) -> LiveStack:
    """A running stack, shared by all tests; whoever stops a part of it starts it again."""
    return _stack


@pytest.fixture
def tenant(stack: LiveStack) -> Tenant:
    """An organization of the test's own."""
    return Tenant(stack)


@pytest.fixture
def content() -> bytes:
    """Bytes that no other test stores; more than one block."""
    return os.urandom(1_000_000)
