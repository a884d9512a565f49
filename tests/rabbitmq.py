"""RabbitMQ, which Debian has in its package rabbitmq-server: a node of its own in a folder of the test's."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from tests.servers import accepts, free_port, wait_until
from tests.wanting import skip_without

SECONDS = 90

# Debian's command on PATH gives up root for a user of its own, who cannot use a test's folder; this does not.
_DEBIAN = "/usr/lib/rabbitmq/bin/rabbitmq-server"


def find_rabbitmq() -> str:
    """The program. Skips the test where there is none, but for CI, where that is a failure."""
    found = shutil.which(_DEBIAN) or (shutil.which("rabbitmq-server") if os.geteuid() else None)
    if found is None:
        skip_without("RabbitMQ (Debian's package rabbitmq-server)")
    return found


class RabbitServer:
    """One node, on 127.0.0.1; what queues hold that are durable outlives its restart."""

    def __init__(self, folder: Path) -> None:
        self._program = find_rabbitmq()
        self.port = free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self._folder = folder
        self._epmd_port = str(free_port())
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = {
            **os.environ,
            "HOME": str(folder),  # of the cookie
            "ERL_EPMD_PORT": self._epmd_port,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"cas-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
        }

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "plugins").write_text("[].\n")
        with (self._folder / "output").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program], env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(lambda: accepts(self.port), SECONDS, "RabbitMQ listens")

    def stop(self) -> None:
        """Kill it, and the name server that it started."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
            wait_until(lambda: not accepts(self.port), SECONDS, "RabbitMQ is gone")
            wait_until(self._ends_name_server, SECONDS, "its name server is gone")

    def _ends_name_server(self) -> bool:
        """It refuses to end until it has noticed that its node did."""
        subprocess.run(["epmd", "-port", self._epmd_port, "-kill"], capture_output=True, check=False)
        return not accepts(int(self._epmd_port))
