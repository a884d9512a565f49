"""granian's command with an end in two steps: `python -m casproject.serve <granian's arguments>`.

On SIGTERM granian closes its port and every idle connection at once, and a request that a proxy has just sent there is
lost. So for CAS_DRAIN_SECONDS the processes first serve on, while `/readyz` answers 503 and no connection is kept:
time for proxies to go elsewhere. Then granian ends as it does: transfers that are under way finish within
`--workers-kill-timeout`, and are cut after it. A second signal skips the first step.
"""

import gc
import os
import signal
import threading
from contextlib import suppress
from typing import Any

import django
from django.conf import settings
from granian import cli, server

from casproject import drain, startup


class DrainingServer(server.Server):  # type: ignore[misc, valid-type]  # one of two, by platform
    """Hands the signal on to granian when the processes have drained."""

    is_draining = False

    def signal_handler_interrupt(self, *args: Any, **kwargs: Any) -> None:
        if self.is_draining or not settings.CAS_DRAIN_SECONDS:
            super().signal_handler_interrupt()
            return
        self.is_draining = True
        for worker in self.wrks:
            with suppress(ProcessLookupError):  # one that has just ended
                os.kill(worker.inner.pid, drain.SIGNAL)
        timer = threading.Timer(settings.CAS_DRAIN_SECONDS, super().signal_handler_interrupt)
        timer.daemon = True
        timer.start()

    def _respawn_workers(self, *args: Any, **kwargs: Any) -> None:
        """granian's; but while the others drain, a new process would tell proxies to come."""
        if not self.is_draining:
            super()._respawn_workers(*args, **kwargs)


def main() -> None:
    """Serve until a signal ends it."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "casproject.settings")
    startup.load_settings()
    # Here, so that what is wrong is said once, and what the processes need is loaded once: they are forks.
    django.setup()
    startup.refuse_wrong_settings()
    gc.freeze()
    signal.signal(drain.SIGNAL, signal.SIG_IGN)  # of the processes too, until each has its own handler
    cli.Server = DrainingServer  # type: ignore[attr-defined]  # what its command starts
    cli.entrypoint()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
