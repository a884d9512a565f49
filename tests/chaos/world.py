"""The stack under test and all it depends on, with a hand on each."""

from contextlib import ExitStack
from pathlib import Path

from tests.chaos.proxy import Proxy
from tests.chaos.stream import Stream
from tests.chaos.trail import Database
from tests.functional.stack import LiveStack, waiting_files
from tests.servers import BrokerServer, NatsServer, PostgresServer, wait_until


class World:
    """Web server, workers and beat as in the Procfile, a NATS, a broker, and a database: SQLite or PostgreSQL."""

    def __init__(self, folder: Path, *, on_postgresql: bool = False) -> None:
        self._cleanup = ExitStack()
        self.postgres = PostgresServer() if on_postgresql else None
        environment = {"DATABASE_URL": self.postgres.url} if self.postgres else {}
        self.nats = NatsServer(folder / "nats")
        self.broker = BrokerServer(folder / "broker")
        self.stack = LiveStack(folder / "stack", self.nats, **environment)
        if not self.postgres:
            self.stack.environment.pop("DATABASE_URL", None)
        self._usual = self.stack.environment
        self._changes: dict[str, str] | None = {}
        self.database = Database(self.postgres.url if self.postgres else folder / "stack" / "cas.sqlite3")
        self.stream = Stream(self.nats.url)
        self.nats_proxy = Proxy(self.nats.port)
        self.broker_proxy = Proxy(self.broker.port)
        self.database_proxy = Proxy(self.postgres.port) if self.postgres else None

    def __enter__(self) -> "World":
        with self._cleanup:  # undone here when the start fails half-way
            for server in (self.postgres, self.broker):
                if server:
                    self._cleanup.callback(server.stop)
                    server.start()
            for proxy in (self.nats_proxy, self.broker_proxy, self.database_proxy):
                if proxy:
                    self._cleanup.callback(proxy.close)
            self._cleanup.callback(self.stack.stop)
            self.stack.prepare()
            self._usual = dict(self.stack.environment)
            self.stack.start()
            self._cleanup = self._cleanup.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def use(self, changes: dict[str, str]) -> None:
        """Have all processes run in the usual environment with these changes; restart them if they do not."""
        if changes == self._changes:
            return
        self.stack.end()
        self.stack.environment = {**self._usual, **changes}
        self._changes = changes
        self.stack.start()

    def forget(self) -> None:
        """Have `use` restart all processes, whatever it is asked for."""
        self._changes = None

    def settle(self, seconds: float, after: int, until: int | None = None) -> bool:
        """Wait until nothing waits outside of the trail or, in this range of keys, in it; False when not in time."""

        def is_drained() -> bool:
            waiting = waiting_files(self.stack.folder, are_all=until is None)
            return not waiting and not self.database.pending(after, until)

        try:
            wait_until(is_drained, seconds, "it is drained")
        except AssertionError:
            return False
        return True
