"""The write-ahead log: what was appended is in the trail once, whatever ends the process or the database."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import DataError, OperationalError

from audit import intake, journal, write_ahead
from audit.models import AuditEvent
from audit.write_ahead import WriteAheadLog
from tests.factories import make_event


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.log"))


def refuse(*args: object) -> None:
    raise OperationalError("the database is gone")


@pytest.mark.django_db
def test_event_comes_out_as_it_went_in() -> None:
    event = make_event(file_name="ünï\u2028\n.txt")
    write_ahead.append(event)
    assert write_ahead.take_in() == 1
    row = AuditEvent.objects.get()
    assert (row.event_id, row.payload, row.occurred_at) == (event.event_id, event.payload(), event.occurred_at)
    assert write_ahead.take_in() == 0


@pytest.mark.django_db
def test_segment_is_gone_when_its_events_are_in_the_trail(write_ahead_folder: Path) -> None:
    for _ in range(3):
        write_ahead.append(make_event())
    assert len(segments(write_ahead_folder)) == 1
    assert write_ahead.take_in() == 3
    assert segments(write_ahead_folder) == []


@pytest.mark.django_db
def test_more_than_is_remembered_is_read_from_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_ahead, "REMEMBERED", 2)
    monkeypatch.setattr(write_ahead, "BATCH", 2)
    ids = []
    for _ in range(5):
        event = make_event()
        ids.append(event.event_id)
        write_ahead.append(event)
    assert write_ahead.take_in() == 5
    assert list(AuditEvent.objects.order_by("id").values_list("event_id", flat=True)) == ids


@pytest.mark.django_db
def test_events_that_the_database_refused_are_synced_and_taken_in_later(
    write_ahead_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    write_ahead.append(make_event())
    with monkeypatch.context() as patch:
        patch.setattr(AuditEvent, "insert", refuse)
        patch.setattr(os, "fsync", synced.append)
        assert intake.take_in() == 0
    assert len(synced) == 1
    write_ahead.append(make_event())
    assert len(segments(write_ahead_folder)) == 2
    assert intake.take_in() == 2
    assert AuditEvent.objects.count() == 2
    assert segments(write_ahead_folder) == []


@pytest.mark.django_db
def test_outage_is_told_at_its_beginning_and_its_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(AuditEvent, "insert", refuse)
        for _ in range(3):
            write_ahead.append(make_event())
            intake.take_in()
    for _ in range(2):
        intake.take_in()
    assert [record.message for record in caplog.records if record.name == intake.__name__] == [
        "The database takes no audit events, which wait in the write-ahead log: the database is gone",
        "The database takes audit events again",
    ]


@pytest.mark.django_db
def test_database_that_refuses_is_left_alone_for_a_while_and_few_segments_are_left_behind(
    write_ahead_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(intake, "time", SimpleNamespace(monotonic=lambda: now))
    with monkeypatch.context() as patch:
        patch.setattr(AuditEvent, "insert", refuse)
        for _ in range(5):
            write_ahead.append(make_event())
            assert intake.take_in_rested() == 0
        intake.finish()
    assert len(segments(write_ahead_folder)) == 2
    for left_behind in segments(write_ahead_folder)[:1]:  # another process takes it in
        left_behind.rename(left_behind.with_suffix(".taken"))
    assert intake.has_waiting()
    now += intake.REST
    assert intake.take_in_rested() == 4
    assert not intake.has_waiting()
    write_ahead.append(make_event())
    assert intake.take_in_rested() == 1


@pytest.mark.django_db
def test_process_that_ends_takes_in_its_own_segment_alone(write_ahead_folder: Path) -> None:
    other = WriteAheadLog()
    other.append(make_event())
    write_ahead.append(make_event())
    intake.finish()
    assert AuditEvent.objects.count() == 1
    assert segments(write_ahead_folder) == [other.path]


@pytest.mark.django_db
def test_event_that_must_not_be_lost_is_synced_and_so_is_the_name_of_its_file(
    write_ahead_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync, sync_data = os.fsync, os.fdatasync

    def note(sync: Callable[[int], None], descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", partial(note, sync))
    monkeypatch.setattr(os, "fdatasync", partial(note, sync_data))
    write_ahead.append(make_event())
    assert synced == []
    for _ in range(2):
        write_ahead.append_durably(make_event())
    [segment] = segments(write_ahead_folder)
    assert synced == ["write-ahead", write_ahead_folder.parent.name, segment.name, segment.name]
    assert write_ahead.take_in() == 3


@pytest.mark.django_db
def test_segment_may_be_taken_in_before_it_is_synced(write_ahead_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fdatasync
    synced: list[str] = []

    def sync_late(descriptor: int) -> None:
        assert write_ahead.take_in() == 1
        write_ahead.append(make_event())  # a file that may have the number that was free
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        sync(descriptor)

    monkeypatch.setattr(os, "fdatasync", sync_late)
    write_ahead.append_durably(make_event())
    assert [name.partition(" ")[2] for name in synced] == ["(deleted)"]
    assert write_ahead.take_in() == 1
    assert AuditEvent.objects.count() == 2


@pytest.mark.django_db
def test_sweep_of_another_process_leaves_a_segment_that_is_just_begun(
    write_ahead_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock

    def lock_late(descriptor: int, kind: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        monkeypatch.setattr(write_ahead, "_log", WriteAheadLog())  # another process has its own
        assert write_ahead.take_in_left_behind() == 0
        lock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    write_ahead.append(make_event())
    [segment] = segments(write_ahead_folder)
    assert segment.read_bytes()


@pytest.mark.django_db
def test_segment_that_cannot_be_read_holds_up_neither_others_nor_the_journal(
    write_ahead_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As one of another user's is, where a worker shares the folder."""
    for name in ("1-1.log", "2-2.log"):
        (write_ahead_folder / name).parent.mkdir(exist_ok=True)
        (write_ahead_folder / name).write_text(f"{journal.json_of(make_event())}\n")
    journal.append(make_event())
    open_file = Path.open

    def refuse_one(path: Path, *args: Any, **options: Any) -> Any:
        if path.name == "1-1.log":
            raise PermissionError(13, "Permission denied")
        return open_file(path, *args, **options)

    monkeypatch.setattr(Path, "open", refuse_one)
    assert intake.take_in() == 2
    assert [path.name for path in segments(write_ahead_folder)] == ["1-1.log"]
    assert "cannot be read or removed" in caplog.text


@pytest.mark.django_db
def test_own_segment_that_cannot_be_removed_holds_up_nothing(
    write_ahead_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ahead.append(make_event())

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        assert intake.take_in() == 0
    assert AuditEvent.objects.count() == 1
    intake.take_in()
    assert AuditEvent.objects.count() == 1
    assert segments(write_ahead_folder) == []


APPEND_AND_WAIT = """
import time, django
from pathlib import Path
django.setup()
from audit import write_ahead
from tests.factories import make_event
write_ahead._folder = lambda: Path({folder!r})
for _ in range(3):
    write_ahead.append(make_event())
print("appended", flush=True)
time.sleep(60)
"""


@pytest.mark.django_db
def test_events_of_a_process_that_was_killed_are_taken_in_and_those_of_one_that_lives_are_not(
    write_ahead_folder: Path,
) -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    script = APPEND_AND_WAIT.format(folder=str(write_ahead_folder))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment)
    assert process.stdout
    with process:
        assert process.stdout.readline() == b"appended\n"
        assert write_ahead.take_in_left_behind() == 0
        process.send_signal(signal.SIGKILL)
        process.wait()
    with segments(write_ahead_folder)[0].open("ab") as file:
        file.write(b'{"event_id": "half a li')  # as if it was killed while it wrote
    assert write_ahead.take_in_left_behind() == 3
    assert AuditEvent.objects.count() == 3
    assert segments(write_ahead_folder) == []


@pytest.mark.django_db
def test_more_than_there_is_time_for_is_left_to_the_next_time(write_ahead_folder: Path) -> None:
    for _ in range(2):
        write_ahead.append(make_event())
        write_ahead._log.close()
    assert write_ahead.take_in_left_behind(seconds=-1) == 0
    assert write_ahead.take_in_left_behind(seconds=60) == 2


@pytest.mark.django_db
def test_events_that_were_taken_in_before_a_crash_are_not_doubled(write_ahead_folder: Path) -> None:
    for _ in range(2):
        write_ahead.append(make_event())
    (segment,) = segments(write_ahead_folder)
    content = segment.read_bytes()
    write_ahead.take_in()
    segment.write_bytes(content)
    write_ahead.take_in_left_behind()
    assert AuditEvent.objects.count() == 2


@pytest.mark.django_db
def test_line_that_is_no_event_is_set_aside_and_holds_up_no_other(
    write_ahead_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As one of a later version is, to the worker that is not updated yet."""
    write_ahead.append(make_event())
    write_ahead._log.close()
    with segments(write_ahead_folder)[0].open("ab") as file:
        file.write(b'{"strange": 1}\n')
    assert write_ahead.take_in_left_behind() == 1
    assert '{"strange": 1}' in caplog.text
    [left] = write_ahead_folder.iterdir()
    assert (left.suffix, left.read_bytes()) == (".bad", b'{"strange": 1}\n')


@pytest.mark.django_db
def test_events_stay_when_the_journal_does_not_take_what_the_database_never_will(
    write_ahead_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise DataError("no such value")

    def fill_disk(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    write_ahead.append(make_event())
    with monkeypatch.context() as patch:
        patch.setattr(AuditEvent, "insert", refuse)
        patch.setattr(journal, "write_whole", fill_disk)
        assert intake.take_in() == 0
    assert len(segments(write_ahead_folder)) == 1
    assert intake.take_in() == 1


def test_full_disk_leaves_no_part_of_an_event(write_ahead_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ahead.append(make_event())
    (segment,) = segments(write_ahead_folder)
    content = segment.read_bytes()
    write = os.write
    with monkeypatch.context() as disk:
        disk.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:10]))
        with pytest.raises(OSError, match="only a part"):
            write_ahead.append(make_event())
    assert segment.read_bytes() == content


@pytest.mark.django_db
def test_child_of_a_fork_leaves_the_segment_to_its_parent(write_ahead_folder: Path) -> None:
    write_ahead.append(make_event())
    child = os.fork()
    if child == 0:
        write_ahead.append(make_event())
        os._exit(0)
    os.waitpid(child, 0)
    assert len(segments(write_ahead_folder)) == 2
    assert intake.take_in() == 2
