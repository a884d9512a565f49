"""docs/backup.md done: a running stack backed up, lost, restored, and put to use again."""

import shutil
import sqlite3
from pathlib import Path

from tests.functional.stack import SECONDS, LiveStack, Tenant
from tests.servers import wait_until

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
        wait_until(lambda: is_sealed(stack.folder / "cas.sqlite3"), SECONDS, "the event is sealed")

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


def is_sealed(path: Path) -> bool:
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT position FROM audit_auditevent").fetchall()
    return bool(rows) and None not in {row[0] for row in rows}
