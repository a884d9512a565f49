"""The database."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos.faults.base import Fault
from tests.chaos.proxy import Mode
from tests.chaos.trail import TABLE
from tests.chaos.world import World

TABLES = (TABLE, "artifacts_artifact", "artifacts_location")


class DatabaseLocked(Fault):
    """Another process holds the write lock: SQLite's (BEGIN IMMEDIATE), or the trail's table on PostgreSQL."""

    @contextmanager
    def fault(self, world: World) -> Iterator[None]:
        with world.database.connect() as connection:
            if world.postgres:
                connection.execute("BEGIN")
                connection.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
            else:
                connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")


class DatabaseReadOnly(Fault):
    """The database is readable and takes no rows: a setting of PostgreSQL's, triggers on SQLite's tables."""

    @contextmanager
    def fault(self, world: World) -> Iterator[None]:
        world.database.run(*self._begin(is_postgresql=world.database.is_postgresql))
        yield
        world.database.run(*self._end(is_postgresql=world.database.is_postgresql))

    def _begin(self, *, is_postgresql: bool) -> list[str]:
        if is_postgresql:
            return ["ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"]
        return [
            f"CREATE TRIGGER chaos_{table}_{verb} BEFORE {verb} ON {table} "
            "BEGIN SELECT RAISE(ABORT, 'attempt to write a readonly database'); END"
            for table in TABLES
            for verb in ("INSERT", "UPDATE")
        ]

    def _end(self, *, is_postgresql: bool) -> list[str]:
        if is_postgresql:
            return [
                "SET default_transaction_read_only = off",
                "ALTER SYSTEM RESET default_transaction_read_only",
                "SELECT pg_reload_conf()",
            ]
        return [f"DROP TRIGGER chaos_{table}_{verb}" for table in TABLES for verb in ("INSERT", "UPDATE")]


class DatabaseGone(Fault):
    """PostgreSQL is down; SQLite's tables are not there."""

    @contextmanager
    def fault(self, world: World) -> Iterator[None]:
        if world.postgres:
            world.postgres.halt()
            yield
            world.postgres.resume()
        else:
            rename = "ALTER TABLE {0} RENAME TO {0}_gone", "ALTER TABLE {0}_gone RENAME TO {0}"
            alone = "PRAGMA legacy_alter_table = ON"  # references of other tables keep the usual name
            world.database.run(alone, *(rename[0].format(table) for table in TABLES))
            yield
            world.database.run(alone, *(rename[1].format(table) for table in TABLES))


class DatabaseBlackholed(Fault):
    """PostgreSQL's machine is gone: what is sent there is neither answered nor refused."""

    only_on = "postgresql"
    is_timed = False

    def environment(self, world: World) -> dict[str, str]:
        assert world.postgres
        assert world.database_proxy
        return {"DATABASE_URL": world.postgres.url.replace(f":{world.postgres.port}", f":{world.database_proxy.port}")}

    @contextmanager
    def fault(self, world: World) -> Iterator[None]:
        assert world.database_proxy
        world.database_proxy.set_mode(Mode.GONE)
        yield
        world.database_proxy.set_mode(Mode.PASS)
        world.database_proxy.cut()  # of connections that clients have given up the server would know for hours


class TrailGone(Fault):
    """The trail's table alone is not there: transfers go on, events wait."""

    @contextmanager
    def fault(self, world: World) -> Iterator[None]:
        world.database.run(
            "PRAGMA legacy_alter_table = ON" if not world.postgres else "SELECT 1",
            f"ALTER TABLE {TABLE} RENAME TO chaos_gone",
        )
        yield
        world.database.run(
            "PRAGMA legacy_alter_table = ON" if not world.postgres else "SELECT 1",
            f"ALTER TABLE chaos_gone RENAME TO {TABLE}",
        )


class DatabaseRestarted(Fault):
    """PostgreSQL is restarted, again and again: every connection breaks."""

    only_on = "postgresql"
    is_timed = False

    @contextmanager
    def fault(self, world: World) -> Iterator[None]:
        self.go_on(world)
        yield

    def go_on(self, world: World) -> None:
        assert world.postgres
        world.postgres.halt()
        world.postgres.resume()
