"""granian's command, as far as it is ours; its ends are in tests/functional/test_rolling_restart.py."""

import pytest
from granian import server

from casproject.serve import DrainingServer


@pytest.mark.parametrize("is_draining", [False, True])
def test_process_is_replaced_unless_the_others_drain(monkeypatch: pytest.MonkeyPatch, is_draining: bool) -> None:
    replaced: list[list[int]] = []
    monkeypatch.setattr(server.Server, "_respawn_workers", lambda _, workers, *rest: replaced.append(workers))
    granian = DrainingServer("casproject.wsgi:application", interface="wsgi")
    granian.is_draining = is_draining
    granian._respawn_workers([0], None, None)
    assert replaced == ([] if is_draining else [[0]])
