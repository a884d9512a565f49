"""Where events wait that neither the database nor the write-ahead log could take."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import pytest
from django.db import DataError, OperationalError, connection, connections
from pytest_django import Settings

from audit import journal
from audit.models import AuditEvent
from tests.factories import make_event


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Settings) -> Path:
    settings.CAS_DATA_DIR = tmp_path
    return tmp_path / "journal"


@pytest.mark.django_db
@pytest.mark.parametrize(("url", "state"), [("", "local"), ("nats://127.0.0.1:1", "pending")])
def test_event_comes_out_as_it_went_in(url: str, state: str, settings: Settings) -> None:
    settings.NATS_URL = url
    event = make_event(file_name="ünï\u2028.txt", skipped=True)
    journal.append(event)
    assert journal.take_in() == 1
    row = AuditEvent.objects.get()
    assert (row.payload, row.event_id, row.state) == (event.payload(), event.event_id, state)
    assert journal.pending() == []


def test_event_counts_only_when_file_and_folder_are_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        steps.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().suffix or 'folder'}")
        fsync(descriptor)

    def note_replace(path: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    journal.append(make_event())
    assert steps == ["sync folder", "sync .partial", "rename", "sync folder"]  # its folder is new
    journal.append(make_event())
    assert steps[4:] == ["sync .partial", "rename", "sync folder"]


@pytest.mark.django_db
def test_events_are_taken_in_oldest_first() -> None:
    for timestamp in (3, 1, 2):
        journal.append(make_event(timestamp_ns=1_795_509_390_000_000_000 + timestamp))
    journal.take_in()
    times = [row.payload.split('"Timestamp":"')[1][:30] for row in AuditEvent.objects.order_by("id")]
    assert times == sorted(times)


@pytest.mark.django_db
def test_event_whose_row_was_written_before_a_crash_is_not_doubled() -> None:
    event = make_event()
    journal.append(event)
    AuditEvent.of(event, "published").save()  # type: ignore[arg-type]
    journal.take_in()
    assert AuditEvent.objects.get().state == "published"
    assert journal.pending() == []


@pytest.mark.django_db(transaction=True)
def test_several_processes_take_each_event_in_once() -> None:
    for _ in range(30):
        journal.append(make_event())

    def take_in() -> None:
        journal.take_in()
        connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(take_in) for _ in range(4)]:
            future.result()
    assert AuditEvent.objects.count() == 30
    assert journal.pending() == []


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"event_id": "x"}', "null"])
def test_file_that_is_no_event_is_set_aside_and_others_go_on(text: str, folder: Path) -> None:
    folder.mkdir()
    (folder / "0-bad.json").write_text(text)
    journal.append(make_event())
    assert journal.take_in() == 1
    assert [path.name for path in folder.iterdir()] == ["0-bad.bad"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change", [{"timestamp_ns": 10**30}, {"size_bytes": None}, {"digest": "a" * 65}, {"file_name": "a" * 256}]
)
def test_event_that_no_database_could_take_is_set_aside_and_others_go_on(change: dict[str, Any], folder: Path) -> None:
    journal.append(make_event())
    (bad,) = journal.pending()
    bad.write_text(json.dumps({**json.loads(bad.read_text()), **change}))
    journal.append(make_event())
    assert journal.take_in() == 1
    assert [path.name for path in folder.iterdir()] == [bad.with_suffix(".bad").name]
    assert AuditEvent.objects.count() == 1


@pytest.mark.django_db
def test_file_that_cannot_be_read_does_not_hold_up_others(folder: Path) -> None:
    (folder / "0-x.json").mkdir(parents=True)
    journal.append(make_event())
    assert journal.take_in() == 1


@pytest.mark.django_db
def test_file_that_another_process_sets_aside_meanwhile_harms_nobody(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_the_race(content: bytes) -> NoReturn:
        (folder / "0-bad.json").rename(folder / "0-bad.bad")
        raise journal.NoEventError

    folder.mkdir()
    (folder / "0-bad.json").write_text("{")
    monkeypatch.setattr(journal, "event_of", lose_the_race)
    assert journal.take_in() == 0
    assert [path.name for path in folder.iterdir()] == ["0-bad.bad"]


@pytest.mark.django_db
def test_half_written_file_of_a_crash_is_left_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "1-x.partial").write_text('{"event_id":')
    assert journal.take_in() == 0


@pytest.fixture
def refusing_database(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OperationalError("database is locked")

    with connection.execute_wrapper(refuse):
        yield


@pytest.mark.django_db
def test_database_that_still_refuses_loses_nothing(refusing_database: None) -> None:
    journal.append(make_event())
    journal.append(make_event())
    assert journal.take_in() == 0
    assert len(journal.pending()) == 2


def test_full_disk_leaves_the_whole_event_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    event = make_event()
    journal.append(event)
    assert journal.pending() == []
    (record,) = caplog.records
    assert record.levelname == "CRITICAL"
    assert str(event.event_id) in record.getMessage()
    assert event.digest in record.getMessage()
    assert "No space left on device" in caplog.text


def _full(*args: object, **kwargs: object) -> NoReturn:
    raise OSError(28, "No space left on device")


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as disk:
        disk.setattr(Path, "open", _full)
        yield


@pytest.mark.django_db
def test_event_that_no_file_took_is_taken_in_from_memory_once(full_disk: None) -> None:
    event = make_event()
    journal.append(event)
    assert journal.has_waiting()
    assert (journal.take_in(), journal.take_in()) == (1, 0)
    assert AuditEvent.objects.get().payload == event.payload()
    assert not journal.has_waiting()


@pytest.mark.django_db
def test_event_that_neither_file_nor_database_takes_waits_in_memory(refusing_database: None, full_disk: None) -> None:
    journal.append(make_event())
    assert journal.take_in() == 0
    assert journal.has_waiting()


@pytest.mark.django_db
def test_event_in_memory_goes_to_a_file_once_there_is_room(
    refusing_database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [make_event(timestamp_ns=1_795_509_390_000_000_000 + number) for number in range(2)]
    with monkeypatch.context() as disk:
        disk.setattr(Path, "open", _full)
        for event in events:
            journal.append(event)
    assert journal.take_in() == 0
    assert [journal.event_of(path.read_bytes()) for path in journal.pending()] == events


@pytest.mark.django_db
def test_events_in_memory_are_bounded(full_disk: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "HELD", 2)
    for _ in range(3):
        journal.append(make_event())
    assert journal.take_in() == 2


@pytest.mark.parametrize("step", ["mkdir", "open", "replace"])
def test_event_in_the_log_can_be_put_back_by_hand(
    step: str, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, db: None
) -> None:
    def full(*args: object, **kwargs: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    event = make_event(file_name="ünï\n<&>.txt", size_bytes=2**40)
    with monkeypatch.context() as disk:
        disk.setattr(Path, step, full)
        journal.append(event)
    journal._held.clear()  # the process ended
    logged = caplog.records[0].getMessage()
    folder.mkdir(exist_ok=True)
    (folder / "1-by-hand.json").write_text(logged[logged.index("{") :])
    assert journal.take_in() == 1
    assert AuditEvent.objects.get().payload == event.payload()


@pytest.mark.django_db(transaction=True)
def test_database_that_goes_away_halfway_keeps_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    for timestamp in (1, 2, 3):
        journal.append(make_event(timestamp_ns=1_795_509_390_000_000_000 + timestamp))
    inserts: list[str] = []

    def refuse_second(execute: Any, sql: str, *args: Any) -> Any:
        inserts.extend([sql] if sql.startswith("INSERT") else [])
        if len(inserts) > 1:
            raise OperationalError("the server closed the connection")
        return execute(sql, *args)

    with connection.execute_wrapper(refuse_second):
        assert journal.take_in() == 1
    assert len(journal.pending()) == 2
    assert journal.take_in() == 2
    assert AuditEvent.objects.count() == 3


@pytest.mark.django_db
@pytest.mark.parametrize("change", [{"event_id": 5}, {"org_id": ["x"]}, {"timestamp_ns": 10**26}])
def test_value_of_the_wrong_kind_is_set_aside_and_others_go_on(change: dict[str, Any], folder: Path) -> None:
    journal.append(make_event())
    (bad,) = journal.pending()
    bad.write_text(json.dumps({**json.loads(bad.read_text()), **change}))
    journal.append(make_event())
    assert journal.take_in() == 1
    assert [path.name for path in folder.iterdir()] == [bad.with_suffix(".bad").name]


@pytest.mark.django_db
def test_bad_file_that_cannot_be_set_aside_does_not_hold_up_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*args: object) -> NoReturn:
        raise OSError(30, "Read-only file system")

    folder.mkdir()
    (folder / "0-bad.json").write_text("{")
    journal.append(make_event())
    monkeypatch.setattr(Path, "rename", read_only)
    assert journal.take_in() == 1
    assert AuditEvent.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_event_that_this_database_can_never_take_is_set_aside_and_others_go_on(folder: Path) -> None:
    journal.append(make_event(timestamp_ns=1, file_name="poison"))
    journal.append(make_event(timestamp_ns=2))

    def refuse_poison(execute: Any, sql: str, params: Any, *args: Any) -> Any:
        if "poison" in str(params):
            raise DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
        return execute(sql, params, *args)

    with connection.execute_wrapper(refuse_poison):
        assert journal.take_in() == 1
    assert [path.suffix for path in folder.iterdir()] == [".bad"]


@pytest.mark.django_db
def test_file_that_cannot_be_removed_holds_up_nothing_and_is_not_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    journal.append(make_event())
    journal.append(make_event())
    with monkeypatch.context() as folder_of_another_user:
        folder_of_another_user.setattr(Path, "unlink", refuse)
        journal.take_in()
        journal.take_in()
    assert AuditEvent.objects.count() == 2
