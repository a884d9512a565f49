"""The command around the scrub: its report, its exit status, and how it is stopped."""

import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as project_settings
from django.core.management import CommandError, call_command
from django.db import OperationalError

from artifacts.exceptions import StorageError
from artifacts.management import scrub_progress
from artifacts.models import Artifact, Location, Scrub
from artifacts.scrub_lease import leased
from artifacts.storage.filesystem import FileSystemStore
from tests.artifacts.test_scrubbing import label, path_of, put, store
from tests.factories import digest_of
from tests.functional.stack import prepared
from tests.servers import wait_until
from tests.terminals import Terminal

SECONDS = 60


def verify(*arguments: str) -> tuple[int, str]:
    """The exit status, and what was printed."""
    out = io.StringIO()
    try:
        call_command("verify_artifacts", *arguments, stdout=out)
    except SystemExit as ended:
        return int(str(ended.code)), out.getvalue()
    except CommandError as error:
        return error.returncode, str(error)
    raise AssertionError("It ends with a status.")


def verify_as_json(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
    status, text = verify("--json", *arguments)
    reports: list[dict[str, Any]] = json.loads(text)
    return status, reports


@pytest.mark.django_db
class TestReport:
    def test_all_sound_is_status_0(self, location: Location) -> None:
        put(location, b"first")
        status, text = verify()
        assert status == 0
        expected = "finished, 1 read (5 B), 0 corrupt, 0 missing, 0 unreadable, 0 unlabelled"
        assert text == f"FILESYSTEM/default: {expected}\n"

    def test_no_location_is_sound(self) -> None:
        assert verify_as_json() == (0, [])

    def test_what_the_database_knew_nothing_of_is_counted(self, location: Location) -> None:
        put(location, b"first")
        Artifact.objects.all().delete()
        assert "0 unreadable, 1 unlabelled\n" in verify()[1]
        assert "0 unreadable, 0 unlabelled\n" in verify()[1]

    def test_what_the_storage_refuses_of_its_settings_is_named(self, location: Location) -> None:
        Location.objects.update(options={**location.options, "colour": 1})
        status, text = verify()
        assert status == 2
        assert "unexpected keyword argument 'colour'" in text

    def test_damage_is_listed_with_status_1(self, location: Location) -> None:
        put(location, b"first")
        path_of(location, b"first").write_bytes(b"x")
        label(location, b"second")
        status, text = verify()
        assert status == 1
        assert f"  corrupt {digest_of(b'first')}\n  missing {digest_of(b'second')}\n" in text

    def test_damage_is_reported_again_until_it_is_healed(self, location: Location) -> None:
        put(location, b"first")
        path_of(location, b"first").write_bytes(b"x")
        assert [verify()[0] for _ in range(2)] == [1, 1]
        store(location, b"first")
        assert verify()[0] == 0

    def test_damage_that_a_stopped_run_found_is_reported_by_the_next(self, location: Location) -> None:
        first, second = sorted([b"first", b"second"], key=lambda content: digest_of(content).hex)
        label(location, first)
        put(location, second)
        Scrub.objects.create(location=location, after=digest_of(first).hex, missing=1)
        location.artifacts.filter(digest=digest_of(first).hex).update(missing_at="2026-01-01T00:00Z")
        status, (report,) = verify_as_json()
        assert (status, report["missing"], report["checked"]) == (1, [str(digest_of(first))], 1)

    def test_json_has_everything(self, location: Location) -> None:
        put(location, b"first")
        status, (report,) = verify_as_json()
        assert status == 0
        assert report.pop("started_at")
        assert report == {
            "location": "FILESYSTEM/default",
            "finished": True,
            "checked": 1,
            "checked_bytes": 5,
            "unlabelled": 0,
            "corrupt": [],
            "missing": [],
            "unreadable": {},
            "error": None,
        }

    def test_one_location_alone(self, location: Location, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        other = Location.objects.create(name="a/b", backend="FILESYSTEM", options={"location": str(tmp_path / "other")})
        label(location, b"first")
        status, (report,) = verify_as_json("--location", "FILESYSTEM/a/b")
        assert (status, report["location"]) == (0, str(other))
        assert Scrub.objects.get().location == other

    @pytest.mark.parametrize("name", ["FILESYSTEM/none", "none", "", "/"])
    def test_location_that_there_is_not_is_status_2(self, location: Location, name: str) -> None:
        assert verify("--location", name)[0] == 2

    def test_artifact_that_the_storage_does_not_hand_out_is_status_2(
        self, location: Location, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> Any:
            raise StorageError("The disk is on fire.")

        put(location, b"first")
        monkeypatch.setattr(FileSystemStore, "open", fail)
        status, (report,) = verify_as_json()
        assert (status, report["unreadable"]) == (2, {str(digest_of(b"first")): "The disk is on fire."})
        assert (report["corrupt"], report["missing"]) == ([], [])

    def test_location_that_fails_is_status_2_and_the_others_are_scrubbed(
        self, location: Location, root: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "other").mkdir()
        options = {"location": str(tmp_path / "other")}
        other = Location.objects.create(name="other", backend="FILESYSTEM", options=options)
        put(other, b"first")
        label(location, b"second")
        root.rename(tmp_path / "unmounted")
        status, (failed, done) = verify_as_json()
        assert status == 2
        assert (failed["finished"], failed["missing"], bool(failed["error"])) == (False, [], True)
        assert (done["finished"], done["checked"]) == (True, 1)

    def test_database_that_fails_is_status_2(self, location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object, **__: object) -> Any:
            raise OperationalError("gone")

        monkeypatch.setattr("artifacts.scrubbing.scrub", fail)
        assert verify()[0] == 2

    def test_scrub_that_another_process_does_is_waited_for_and_then_status_2(
        self, location: Location, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scrub_progress, "LEASE_SECONDS", -2)
        with leased(location):
            status, (report,) = verify_as_json()
        assert status == 2
        assert "another process" in report["error"]

    @pytest.mark.parametrize("rate", ["fast", "-1", "1 MB/s"])
    def test_rate_that_is_none_is_refused(self, rate: str) -> None:
        with pytest.raises(CommandError, match="is not a size such as"):
            call_command("verify_artifacts", f"--rate={rate}")

    def test_rate_is_kept(self, location: Location) -> None:
        put(location, os.urandom(600_000))
        began = time.monotonic()
        assert verify("--rate", "500kB")[0] == 0
        assert time.monotonic() - began >= 1.0


class Run:
    """The command as a process of its own, over a database and a location of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "artifacts"
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "casproject.settings",
            "CAS_DATA_DIR": str(folder),
            "DATABASE_URL": f"sqlite:///{folder / 'cas.sqlite3'}",
        }
        shutil.copy(prepared()[0] / "cas.sqlite3", folder)
        self.manage("create_location", "default", "--folder", str(self.root))
        self.process: subprocess.Popen[str] | None = None

    def manage(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=project_settings.BASE_DIR,
            env=self.environment,
            timeout=SECONDS,
            capture_output=True,
            text=True,
            check=False,
        )

    def store(self, content: bytes) -> None:
        digest = digest_of(content).hex
        (self.root / "sha256" / digest[:2]).mkdir(parents=True, exist_ok=True)
        (self.root / "sha256" / digest[:2] / digest).write_bytes(content)

    def start(self, *arguments: str) -> None:
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "verify_artifacts", *arguments],
                cwd=project_settings.BASE_DIR,
                env=self.environment,
                stdout=log,
                stderr=log,
                text=True,
            )

    def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def checked(self) -> int:
        """What the pass remembers."""
        with closing(sqlite3.connect(self.folder / "cas.sqlite3")) as database:
            row = database.execute("SELECT checked FROM artifacts_scrub").fetchone()
        return row[0] if row else 0


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path)
    for number in range(40):
        run.store(b"%d" % number * 1000)
    yield run
    if run.process is not None and run.process.poll() is None:
        run.process.kill()
        run.process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_cleanly_with_what_was_done(process: Run, number: signal.Signals) -> None:
    process.start("--rate", "10kB")
    wait_until(lambda: process.checked() > 0, SECONDS, "something is done")
    assert process.end(number) == 130
    log = (process.folder / "log").read_text()
    assert "Traceback" not in log
    assert "FILESYSTEM/default: not finished" in log
    done = process.manage("verify_artifacts", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["checked"] == 40
    assert "going on" in done.stderr
    assert "another process" not in done.stderr  # nobody's lease had to run out


@pytest.mark.parametrize(
    ("variable", "value"), [("CAS_TOKEN_KEYS", ""), ("DATABASE_URL", "sqlite:////no/such/folder/cas.sqlite3")]
)
def test_what_keeps_it_from_working_is_not_the_status_of_damage(process: Run, variable: str, value: str) -> None:
    process.environment[variable] = value
    done = process.manage("verify_artifacts")
    assert done.returncode == 2, done.stderr


def test_bug_is_not_the_status_of_damage(process: Run) -> None:
    with closing(sqlite3.connect(process.folder / "cas.sqlite3")) as database, database:
        database.execute("UPDATE artifacts_location SET backend = 'GONE', options = '[]'")
        database.execute("UPDATE artifacts_location SET encrypted_credentials = 'garbage'")
    assert process.manage("verify_artifacts").returncode == 2


def test_terminal_sees_a_bar_and_a_file_does_not(process: Run) -> None:
    command = [sys.executable, "manage.py", "verify_artifacts"]
    environment = {**process.environment, "TERM": "xterm", "COLUMNS": "100"}
    with Terminal() as terminal:
        done = subprocess.run(
            command,
            cwd=project_settings.BASE_DIR,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=terminal.theirs,
            check=True,
        )
    assert "━━━" in terminal.shown.decode()
    assert "━" not in done.stdout.decode()
    again = process.manage("verify_artifacts")
    assert again.stderr == ""
    assert again.stdout.count("\n") == 1


def test_killed_run_is_gone_on_with_where_it_was(process: Run) -> None:
    process.start("--rate", "10kB")
    wait_until(lambda: process.checked() > 0, SECONDS, "something is done")
    process.end(signal.SIGKILL)
    before = process.checked()
    done = process.manage("verify_artifacts", "--json")
    assert done.returncode == 0, done.stderr
    (report,) = json.loads(done.stdout)
    assert (report["checked"], report["finished"]) == (40, True)
    assert 0 < before < 40
    assert "going on" in done.stderr
