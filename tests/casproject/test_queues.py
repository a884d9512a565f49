"""Publishing and maintenance go through one broker without getting in each other's way."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import current_app
from django.conf import settings
from honcho.environ import parse_procfile
from pytest_django import Settings

from tests.servers import BIN, wait_until

PROJECT = Path(settings.BASE_DIR)
SECONDS = 180
PUBLISH, MAINTAIN = "audit.tasks.publish_pending", "artifacts.tasks.sweep_incoming"

SEND = """
import sys, django
django.setup()
from casproject.celery import app
for name in sys.argv[2:]:
    app.send_task(name, expires=float(sys.argv[1]))
"""


class Workers:
    """The Procfile's workers over a broker of their own."""

    def __init__(self, folder: Path) -> None:
        self.broker = folder / "broker"
        self.broker.mkdir()
        self.alive = folder / "alive"
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._commands = parse_procfile((PROJECT / "Procfile").read_text()).processes
        self._environment = {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "DJANGO_SETTINGS_MODULE": "casproject.settings",
            "CAS_DATA_DIR": str(folder),
            "DATABASE_URL": f"sqlite:///{folder / 'cas.sqlite3'}",
            "PYTHONWARNINGS": "ignore",
        }
        self._run("manage.py", "migrate", "--verbosity", "0")

    def _run(self, *arguments: str) -> None:
        subprocess.run([BIN / "python", *arguments], cwd=PROJECT, env=self._environment, check=True, timeout=SECONDS)

    def send(self, *tasks: str, expires: float = SECONDS) -> None:
        self._run("-c", SEND, str(expires), *tasks)

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()

    def waiting(self) -> list[str]:
        """The queue of each message that nobody has taken, in order of queue."""
        return sorted(path.name.split(".")[1] for path in self.broker.glob("*.msg"))

    def start(self, name: str) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                ["/bin/sh", "-c", self._commands[name]],
                env=self._environment,
                cwd=PROJECT,
                stdout=log,
                stderr=log,
            )

    def niceness(self, name: str) -> int:
        return os.getpriority(os.PRIO_PROCESS, self._processes[name].pid)

    def stop(self) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            process.wait(SECONDS)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    workers = Workers(tmp_path)
    yield workers
    workers.stop()


@pytest.mark.parametrize(("name", "theirs", "niceness"), [("worker", "maintenance", 10), ("maintenance", "celery", 15)])
def test_worker_takes_and_purges_its_own_queue_alone(workers: Workers, name: str, theirs: str, niceness: int) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    workers.send(PUBLISH, MAINTAIN)
    assert workers.waiting() == ["celery", "maintenance"]
    workers.start(name)
    wait_until(lambda: workers.waiting() == [theirs], SECONDS, "its own message is purged")
    workers.send(PUBLISH, MAINTAIN)
    wait_until(lambda: workers.waiting() == [theirs, theirs], SECONDS, "its own message is taken")
    assert workers.niceness(name) == min(19, before + niceness)
    assert workers.alive.exists()


def test_wake_up_that_expired_is_no_news(workers: Workers) -> None:
    workers.start("worker")
    wait_until(lambda: " ready." in workers.log("worker"), SECONDS, "the worker is ready")
    workers.send(PUBLISH, expires=0)
    wait_until(lambda: workers.waiting() == [], SECONDS, "the message is taken")
    workers.stop()
    assert "revoked" not in workers.log("worker")


def test_what_may_take_long_is_maintenance_and_nothing_else() -> None:
    current_app.loader.import_default_modules()
    tasks = [name for name in current_app.tasks if name.startswith(("artifacts.", "audit.", "people."))]
    queues = {name: current_app.amqp.router.route({}, name)["queue"].name for name in tasks}
    assert queues == {
        "artifacts.tasks.scrub_slice": "maintenance",
        "artifacts.tasks.sweep_incoming": "maintenance",
        "audit.tasks.mirror_stream": "maintenance",
        "audit.tasks.publish_pending": "celery",
        "audit.upkeep_tasks.rank_organizations": "maintenance",
        "audit.upkeep_tasks.remove_expired": "maintenance",
        "audit.upkeep_tasks.seal": "celery",
        "audit.upkeep_tasks.watch": "maintenance",
        "people.tasks.sweep": "maintenance",
    }


@pytest.mark.parametrize(
    ("name", "switch"), [("scrub", {"CAS_SCRUB_BYTES_PER_SECOND": "1000"}), ("mirror", {"CAS_MIRROR": "true"})]
)
def test_sweep_is_always_on_and_the_rest_when_it_is_switched_on(
    settings: Settings, name: str, switch: dict[str, str]
) -> None:
    assert "sweep-incoming" in settings.CELERY_BEAT_SCHEDULE
    assert name not in settings.CELERY_BEAT_SCHEDULE
    print_schedule = "from django.conf import settings; print(*settings.CELERY_BEAT_SCHEDULE)"
    done = subprocess.run(
        [BIN / "python", "-c", print_schedule],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "casproject.settings", **switch},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert name in done.stdout.split()


def test_worker_does_without_the_event_loop_that_forgets_a_broken_redis_connection() -> None:
    with current_app.connection_for_read("redis://") as connection:
        assert not connection.get_transport_cls().implements.asynchronous
