"""Workers and beat touch a file while they get on, and the probes of the chart and of Compose look at its age."""

import os
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from celery import signals
from django.conf import settings as project
from pytest_django import Settings

from artifacts.tasks import _Log
from common import alive

DEPLOY = Path(project.BASE_DIR) / "deploy"
OF_COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["beat"]["healthcheck"]["test"][1]


@pytest.fixture
def file(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file, where nobody has touched it."""
    settings.CAS_DATA_DIR = tmp_path
    monkeypatch.setattr(alive, "_touched", -alive.EVERY)
    return tmp_path / alive.NAME


def make_old(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_it_is_touched_at_the_start_and_not_with_every_task(file: Path) -> None:
    signals.worker_init.send(sender=None)
    make_old(file, 5)
    before = file.stat().st_mtime
    signals.task_postrun.send(sender=None)
    assert file.stat().st_mtime == before


def test_a_task_that_is_done_touches_it(file: Path) -> None:
    signals.task_postrun.send(sender=None)
    assert file.exists()


def test_beat_touches_it_with_each_task_that_the_broker_takes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals.after_task_publish, "receivers", list(signals.after_task_publish.receivers))
    signals.after_task_publish.send(sender=None)
    assert not file.exists()  # a web server sends tasks, too
    signals.beat_init.send(sender=None)
    file.unlink()
    monkeypatch.setattr(alive, "_touched", -alive.EVERY)
    signals.after_task_publish.send(sender=None)
    assert file.exists()


def test_a_scrub_touches_it_while_it_reads(file: Path) -> None:
    _Log().read(1)
    assert file.exists()


def test_a_disk_that_does_not_take_it_ends_no_task(file: Path) -> None:
    file.parent.rmdir()
    signals.task_postrun.send(sender=None)
    assert not file.exists()


@pytest.mark.parametrize(("minutes", "status"), [(1, 0), (29, 0), (31, 1)])
def test_probe_looks_at_its_age(file: Path, minutes: int, status: int) -> None:
    file.touch()
    make_old(file, 60 * minutes)
    probe = OF_COMPOSE.replace("$$", "$").replace("/var/lib/artifact-cas", str(file.parent))
    assert subprocess.run(["sh", "-c", probe], check=False).returncode == status


def test_probe_fails_without_it(file: Path) -> None:
    probe = OF_COMPOSE.replace("$$", "$").replace("/var/lib/artifact-cas", str(file.parent))
    assert subprocess.run(["sh", "-c", probe], capture_output=True, check=False).returncode == 1
