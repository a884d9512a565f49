"""Upkeep in the background: the scrub in slices, the sweep of what uploads left."""

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery.worker import state
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from artifacts import sweeping, tasks
from artifacts.exceptions import StorageError
from artifacts.models import Artifact, Location, ResumableUpload, Scrub
from artifacts.scrub_lease import leased
from artifacts.storage.filesystem import INCOMING, FileSystemStore
from tests.artifacts.test_commands import run
from tests.artifacts.test_scrubbing import CONTENTS, path_of, put
from tests.factories import digest_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def _switched_on(settings: Settings) -> None:
    settings.CAS_SCRUB_BYTES_PER_SECOND = 10**9


@pytest.fixture
def other(location: Location, tmp_path: Path) -> Location:
    """A second location, which comes after the first."""
    (tmp_path / "other").mkdir()
    return Location.objects.create(name="other", backend="FILESYSTEM", options={"location": str(tmp_path / "other")})


def leftover(folder: Path, age: timedelta) -> Path:
    (folder / INCOMING).mkdir(exist_ok=True)
    path = folder / INCOMING / f"tmp{age.total_seconds():.0f}"
    path.touch()
    then = time.time() - age.total_seconds()
    os.utime(path, (then, then))
    return path


# The scrub


def test_switched_off_nothing_is_read(location: Location) -> None:
    put(location, b"first")
    tasks.scrub_slice()
    assert not Scrub.objects.exists()


@pytest.mark.usefixtures("_switched_on")
class TestSlices:
    def test_one_after_the_other_make_a_pass(self, location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tasks, "SLICE_SECONDS", 0)
        for content in CONTENTS:
            put(location, content)
        for done in range(1, 5):
            tasks.scrub_slice()
            assert Scrub.objects.get().checked == done
        tasks.scrub_slice()
        assert Scrub.objects.get().finished_at is not None

    def test_one_slice_goes_through_many_locations(self, location: Location, other: Location) -> None:
        put(location, b"first")
        put(other, b"second")
        path_of(other, b"second").write_bytes(b"x")
        tasks.scrub_slice()
        assert [(s.location, s.corrupt) for s in Scrub.objects.order_by("location")] == [(location, 0), (other, 1)]
        assert Artifact.objects.get(location=other).corrupt_at is not None

    def test_next_pass_begins_only_when_the_last_is_long_ago(self, location: Location, settings: Settings) -> None:
        settings.CAS_SCRUB_EVERY_DAYS = 30
        for age, passes in ((timedelta(days=29), 1), (timedelta(days=31), 2)):
            Scrub.objects.all().delete()
            Scrub.objects.create(location=location, finished_at=timezone.now() - age)
            tasks.scrub_slice()
            assert Scrub.objects.count() == passes

    def test_two_at_once_do_not_happen_not_even_on_two_locations(self, location: Location, other: Location) -> None:
        put(other, b"second")
        with leased(location):
            tasks.scrub_slice()
        assert not Scrub.objects.filter(location=other).exists()

    def test_location_that_fails_does_not_hold_up_the_others(
        self, location: Location, other: Location, root: Path
    ) -> None:
        root.rmdir()
        put(other, b"second")
        tasks.scrub_slice()
        assert Scrub.objects.get(location=other).finished_at is not None
        assert Scrub.objects.get(location=location).finished_at is None

    def test_shutdown_of_the_worker_ends_it(self, location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
        put(location, b"first")
        monkeypatch.setattr(state, "should_stop", 0)
        tasks.scrub_slice()
        unfinished = Scrub.objects.get()
        assert (unfinished.checked, unfinished.finished_at, unfinished.lease) == (0, None, None)

    def test_damage_is_logged(self, location: Location, caplog: pytest.LogCaptureFixture) -> None:
        put(location, b"first")
        path_of(location, b"first").write_bytes(b"x")
        tasks.scrub_slice()
        assert "is corrupt" in caplog.text


# The sweep


def test_sweep_removes_what_is_old_and_leaves_what_is_not(location: Location, root: Path) -> None:
    old, fresh = leftover(root, timedelta(hours=25)), leftover(root, timedelta(hours=23))
    tasks.sweep_incoming()
    assert (old.exists(), fresh.exists()) == (False, True)


def test_age_is_a_setting(location: Location, root: Path, settings: Settings) -> None:
    settings.CAS_UPLOAD_EXPIRES_HOURS = 0.5
    leftover(root, timedelta(hours=1))
    assert sweeping.sweep() == 1


def test_location_that_fails_does_not_keep_the_others_from_being_swept(
    location: Location, other: Location, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root.rmdir()
    old = leftover(Path(other.options["location"]), timedelta(days=2))
    assert sweeping.sweep() == 1
    assert not old.exists()
    assert "FILESYSTEM/default could not be swept" in caplog.text


def test_location_whose_settings_are_wrong_does_not_either(location: Location, root: Path) -> None:
    Location.objects.create(name="a", backend="AWS-S3", options={"no_such_option": 1})
    Location.objects.create(name="b", backend="GONE")
    leftover(root, timedelta(days=2))
    assert sweeping.sweep() == 1


@pytest.mark.parametrize("suffix", [".partial", ".placed"])
def test_live_upload_keeps_its_bytes_and_nothing_else_whichever_location_is_swept(
    location: Location, other: Location, root: Path, suffix: str
) -> None:
    Location.objects.filter(pk=other.pk).update(options=location.options)
    upload = ResumableUpload.objects.create(location=other, length=9, expires_at=timezone.now() + timedelta(hours=1))
    ResumableUpload.objects.update(created_at=timezone.now() - timedelta(days=9))
    left = leftover(root, timedelta(days=2))
    piece = leftover(root, timedelta(days=3)).rename(root / ".incoming" / f"{upload}{suffix}")
    assert sweeping.sweep() == 1
    assert (piece.exists(), left.exists()) == (True, False)
    upload.result = digest_of(b"content").hex
    upload.save()
    assert sweeping.sweep() == 1
    assert not piece.exists()


@pytest.mark.parametrize(("arguments", "removed"), [([], 1), (["--older-than", "1h"], 2), (["--older-than", "7d"], 0)])
def test_command_sweeps_and_says_how_much(location: Location, root: Path, arguments: list[str], removed: int) -> None:
    leftover(root, timedelta(hours=25))
    leftover(root, timedelta(hours=2))
    assert run("sweep_incoming", *arguments) == f"Removed {removed} leftover(s) of uploads.\n"


def test_age_that_is_none_is_refused(location: Location) -> None:
    with pytest.raises(CommandError, match="is not a time such as"):
        call_command("sweep_incoming", "--older-than=soon")


def test_age_beyond_all_time_is_an_error_that_is_told(location: Location) -> None:
    with pytest.raises(CommandError, match="long ago"):
        call_command("sweep_incoming", f"--older-than={10**9}d")


def test_storage_error_while_sweeping_is_no_crash(
    location: Location, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Any:
        raise StorageError

    monkeypatch.setattr(FileSystemStore, "sweep", fail)
    assert sweeping.sweep() == 0
