"""A web server's processes: one that is killed is replaced, while the others serve on."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.stack import SECONDS, LiveStack, Tenant
from tests.servers import wait_until


@pytest.fixture
def web(tmp_path: Path) -> Iterator[LiveStack]:
    stack = LiveStack(tmp_path, None, CAS_WEB_WORKERS="2")
    stack.prepare()
    stack.start("web")
    wait_until(lambda: started(stack) == 2, SECONDS, "both serve, not only the one that answered first")
    yield stack
    stack.stop()


def started(stack: LiveStack) -> int:
    """How many processes ever began to serve."""
    return stack.log("web").count("Started worker-")


def serving(stack: LiveStack) -> set[int]:
    """The processes that serve: all but the one that starts them."""
    return set(map(int, stack.processes("web"))) - {stack.leader("web")}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_process_that_is_killed_is_replaced_while_the_other_serves_on(web: LiveStack, number: signal.Signals) -> None:
    tenant, before = Tenant(web), serving(web)
    assert len(before) == 2
    killed = before.pop()
    os.kill(killed, number)
    wait_until(lambda: killed not in serving(web), SECONDS, "it is gone, with the connections that it had taken")

    def is_replaced() -> bool:
        assert tenant.put(os.urandom(1000)).status_code == 201
        return started(web) == 3

    wait_until(is_replaced, SECONDS, "another is there")
    assert before < serving(web), "the other is the same"
    assert len(serving(web)) == 2
    assert web.retire("web") == 0
