import os
from collections.abc import Iterator

import pytest

from tests.functional.nginx import Nginx
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
def stack(_stack: LiveStack) -> Iterator[LiveStack]:
    """A running stack, shared by all tests; whoever stops a part of it starts it again."""
    yield _stack
    for leftover in _stack.incoming():
        leftover.unlink(missing_ok=True)  # of a server that was killed: swept by age, not at once


@pytest.fixture(scope="module")
def nginx(stack: LiveStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """The shipped nginx in front of a stack of the module's own."""
    nginx = Nginx(tmp_path_factory.mktemp("nginx"), stack)
    nginx.start()
    yield nginx
    nginx.stop()


@pytest.fixture
def tenant(stack: LiveStack) -> Tenant:
    """An organization of the test's own."""
    return Tenant(stack)


@pytest.fixture
def content() -> bytes:
    """Bytes that no other test stores; more than one block."""
    return os.urandom(1_000_000)
