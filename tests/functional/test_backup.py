"""docs/backup.md done: a running stack backed up, lost, restored, and put to use again."""

import ast
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

from casproject.management.commands.reconcile import DIFFER
from devstack.environment import PROJECT
from tests.functional.stack import SECONDS, LiveStack, Tenant
from tests.servers import NatsServer, PostgresServer, wait_until

OLD, BETWEEN, NEW = b"before the backup", b"between database and storage", b"after the restore"


def test_restored_database_and_storage_work_on(tmp_path: Path) -> None:
    stack = LiveStack(tmp_path / "stack", None)
    backup = tmp_path / "backup"
    backup.mkdir()
    stack.prepare()
    someone = Tenant(stack)
    stack.start()
    try:
        assert someone.put(OLD, "old.txt").status_code == 201
        wait_until(
            lambda: is_sealed(stack.folder / "cas.sqlite3"), SECONDS, "the event is sealed, and a checkpoint signs it"
        )

        with sqlite3.connect(stack.folder / "cas.sqlite3") as database:  # while it runs
            database.execute("VACUUM INTO ?", [str(backup / "cas.sqlite3")])
        assert someone.put(BETWEEN).status_code == 201
        shutil.copytree(stack.root, backup / "artifacts")

        stack.end()
        shutil.rmtree(stack.root)
        for leftover in stack.folder.glob("cas.sqlite3*"):
            leftover.unlink()
        shutil.copy(backup / "cas.sqlite3", stack.folder)
        shutil.copytree(backup / "artifacts", stack.root)

        (stack.folder / "last-checkpoint.json").unlink()
        stack.manage("migrate", "--verbosity", "0")
        stack.manage("verify_trail")
        stack.start()
        assert someone.get(OLD).content == OLD
        assert someone.get(BETWEEN).content == BETWEEN  # an object without a row
        assert someone.put(OLD).json()["file_name"] == "old.txt"
        assert someone.put(NEW).status_code == 201
        stack.manage("verify_artifacts")
        stack.manage("verify_trail")
    finally:
        stack.stop()


def test_postgresql_is_restored_and_the_stream_tells_what_came_after(tmp_path: Path) -> None:
    postgres = PostgresServer()
    postgres.start()
    stack = LiveStack(tmp_path / "stack", NatsServer(tmp_path / "nats"), DATABASE_URL=postgres.url)
    dump, someone = str(tmp_path / "cas.dump"), Tenant(stack)
    try:
        stack.prepare()
        stack.start()
        assert someone.put(OLD, "old.txt").status_code == 201
        wait_until(lambda: events_of(stack) == {"published": 1}, SECONDS, "the event is published")
        postgres.run_tool("pg_dump", "--format", "custom", "--file", dump, postgres.url)
        assert someone.put(BETWEEN).status_code == 201
        wait_until(lambda: events_of(stack) == {"published": 2}, SECONDS, "the event is published")

        stack.end()
        postgres.run_tool("pg_restore", "--clean", "--if-exists", "--dbname", postgres.url, dump)
        assert events_of(stack)["published"] == 1
        (stack.folder / "last-checkpoint.json").unlink(missing_ok=True)
        stack.manage("migrate", "--verbosity", "0")
        command = [sys.executable, str(PROJECT / "manage.py"), "reconcile", "--repair"]
        assert subprocess.run(command, env=stack.environment, check=False).returncode == DIFFER
        assert events_of(stack)["mirrored"] == 1, "what came after the backup is taken in from the stream"
        stack.manage("verify_artifacts")  # labels what came after the backup
        stack.manage("reconcile")
        stack.start()
        assert someone.get(OLD).content == OLD
        assert someone.get(BETWEEN).content == BETWEEN
        assert someone.put(NEW).status_code == 201
        stack.manage("verify_trail")
    finally:
        stack.stop()
        postgres.stop()


def events_of(stack: LiveStack) -> dict[str, int]:
    """How many transfers the trail has, by state."""
    script = (
        "from collections import Counter; from audit.events import Action; from audit.models import AuditEvent; "
        "rows = AuditEvent.objects.filter(action__in=list(Action)); "
        "print(dict(Counter(rows.values_list('state', flat=True))))"
    )
    printed = stack.manage("shell", "--verbosity", "0", "--command", script)
    return dict(ast.literal_eval(printed.strip().splitlines()[-1]))


def is_sealed(path: Path) -> bool:
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT position, subject FROM audit_auditevent").fetchall()
    is_signed = any("checkpoint" in subject for _, subject in rows)
    return is_signed and None not in {position for position, _ in rows}
