"""Metrics of several processes: added up, kept when one ends, and never in the way."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from casproject.observability.sharing import ENDED, Sharing, Totals
from common import metrics
from common.metrics import Counter, Histogram
from tests.servers import wait_until


@pytest.fixture(autouse=True)
def _own_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "METRICS", {})
    monkeypatch.setattr("casproject.observability.sharing.METRICS", metrics.METRICS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "metrics"


@pytest.fixture
def counter() -> Counter:
    return Counter("test_total", "A test.", ["kind"])


OTHER = """
import sys
from pathlib import Path
from casproject.observability.sharing import Sharing
from common.metrics import Counter

Counter("test_total", "A test.", ["kind"]).add(float(sys.argv[2]), "a")
sharing = Sharing(Path(sys.argv[1]), {"test_gauge": lambda: 5})
sharing.begin()
sharing.share()
print("written", flush=True)
sys.stdin.read()
"""


class Other:
    """Another process that counted, until its `with` block ends."""

    def __init__(self, folder: Path, count: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", OTHER, str(folder), str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": "."},
        )

    def __enter__(self) -> "Other":
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"written\n"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


def value(totals: Totals, *labels: str) -> float:
    (number,) = totals.counts["test_total"][labels]
    return number


def test_processes_are_added_up_and_stay_counted_when_they_end(folder: Path, counter: Counter) -> None:
    counter.add(1, "a")
    counter.add(2, "b")
    mine = Sharing(folder, {"test_gauge": lambda: 2})
    mine.share()
    with Other(folder, 10), Other(folder, 20):
        totals = mine.collect()
        assert (value(totals, "a"), value(totals, "b")) == (31, 2)
        assert (totals.gauges, totals.processes) == ({"test_gauge": 12}, 3)
        assert mine.sweep() == 0
    for _ in range(2):  # swept or not
        totals = mine.collect()
        assert (value(totals, "a"), totals.gauges, totals.processes) == (31, {"test_gauge": 2}, 1)
        mine.sweep()
    left = {path.name for path in folder.iterdir()}
    assert left == {ENDED, f"{mine.name}.json", f"{mine.name}.lock"}


def test_sweep_that_broke_off_before_it_removed_files_counts_nothing_twice(
    folder: Path, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Sharing(folder)
    with Other(folder, 10):
        pass

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("killed")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", fail)
        with pytest.raises(OSError, match="killed"):
            mine.sweep()
    assert value(mine.collect(), "a") == 10
    mine.sweep()
    assert value(mine.collect(), "a") == 10


def test_what_one_process_has_shown_the_next_shows_too(folder: Path, counter: Counter) -> None:
    """A counter that goes down from one scrape to the next is taken for one that began anew: its rate leaps."""
    mine = Sharing(folder)
    for shown in (1, 2):
        counter.add(1, "a")
        assert value(mine.collect(), "a") == shown
        written = json.loads((folder / f"{mine.name}.json").read_text())
        assert written["counts"]["test_total"] == [[["a"], [shown]]]


def test_values_are_written_only_when_they_changed(folder: Path, counter: Counter) -> None:
    mine = Sharing(folder)
    mine.share()
    path = folder / f"{mine.name}.json"
    first = path.stat().st_ino
    mine.share()
    assert path.stat().st_ino == first
    counter.add(1, "a")
    mine.share()
    assert path.stat().st_ino != first


def test_full_disk_and_missing_folder_cost_nothing_but_freshness(
    folder: Path, counter: Counter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mine = Sharing(folder)
    counter.add(1, "a")
    mine.share()

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(Path, "write_text", full)
        for _ in range(3):
            counter.add(1, "a")
            mine.share()
        assert value(mine.collect(), "a") == 4
    assert len(caplog.records) == 1
    mine.share()
    assert json.loads((folder / f"{mine.name}.json").read_text())["counts"]["test_total"] == [[["a"], [4]]]

    shutil.rmtree(folder)
    assert value(mine.collect(), "a") == 4
    mine.share()
    assert {path.name for path in folder.iterdir()} == {f"{mine.name}.json", f"{mine.name}.lock"}
    assert value(mine.collect(), "a") == 4


def test_folder_that_cannot_be_made_leaves_the_process_its_own_values(tmp_path: Path, counter: Counter) -> None:
    (tmp_path / "metrics").write_text("a file")
    mine = Sharing(tmp_path / "metrics")
    counter.add(1, "a")
    mine.share()
    assert value(mine.collect(), "a") == 1


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"counts": 1}',
        '{"counts": {"test_total": [[["a"], ["x"]]]}}',
        '{"counts": {"gone_total": [[[], [1]]]}}',
    ],
)
def test_file_that_is_not_whole_is_passed_over(folder: Path, counter: Counter, content: str) -> None:
    folder.mkdir()
    (folder / "1-1.json").write_text(content)
    mine = Sharing(folder)
    counter.add(1, "a")
    assert value(mine.collect(), "a") == 1
    assert mine.sweep() == 1
    assert value(mine.collect(), "a") == 1


def test_other_buckets_and_labels_of_another_version_are_left_out(folder: Path, counter: Counter) -> None:
    histogram = Histogram("test_seconds", "A test.", [1, 2])
    folder.mkdir()
    (folder / "1-1.json").write_text(
        json.dumps({"counts": {"test_seconds": [[[], [1, 1, 1, 1, 9]]], "test_total": [[["a", "b"], [1]]]}})
    )
    counter.add(1, "a")
    histogram.observe(1.5)
    totals = Sharing(folder).collect()
    assert totals.counts == {"test_seconds": {(): [0, 1, 0, 1.5]}, "test_total": {("a",): [1]}}


def test_sweep_of_another_process_leaves_one_that_just_begins(
    folder: Path, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, lock = Sharing(folder), fcntl.flock
    threads: list[threading.Thread] = []
    swept: list[int] = []

    def lock_late(descriptor: int, kind: int) -> None:
        if kind == fcntl.LOCK_EX | fcntl.LOCK_NB:
            monkeypatch.setattr(fcntl, "flock", lock)
            threads.append(threading.Thread(target=lambda: swept.append(Sharing(folder).sweep())))
            threads[0].start()
            threads[0].join(0.5)  # it waits until the lock is held
        lock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    counter.add(1, "a")
    mine.share()
    threads[0].join()
    assert swept == [0]
    assert (folder / f"{mine.name}.json").exists()


def test_fork_in_the_middle_of_a_sweep_leaves_the_folder_to_others(folder: Path) -> None:
    folder.mkdir()
    mine = Sharing(folder)
    end = os.pipe()
    with mine._folder_locked(fcntl.LOCK_EX):
        child = os.fork()
        if child == 0:
            os.read(end[0], 1)
            os._exit(0)
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while the child's copy holds it
        os.close(descriptor)
    finally:
        os.write(end[1], b"x")
        os.waitpid(child, 0)
        os.close(end[0])
        os.close(end[1])


def test_fork_counts_for_itself(folder: Path, counter: Counter) -> None:
    """In a process of its own: what a fork is told to do stays told."""
    program = """
import os, sys, time
from pathlib import Path
from casproject.observability.sharing import Sharing
from common.metrics import Counter

counter = Counter("test_total", "A test.", ["kind"])
counter.add(100, "a")
sharing = Sharing(Path(sys.argv[1]))
sharing.begin()
if os.fork() == 0:
    counter.add(7, "a")
print("ready", flush=True)
sys.stdin.read()
os._exit(0)
"""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert process.stdout is not None
    mine = Sharing(folder)
    wait_until(
        lambda: "test_total" in mine.collect().counts and mine.collect().counts["test_total"].get(("a",)) == [107]
    )
    assert mine.collect().processes == 3
    process.communicate()
    wait_until(lambda: mine.collect().processes == 1)
    mine.sweep()
    assert value(mine.collect(), "a") == 107
