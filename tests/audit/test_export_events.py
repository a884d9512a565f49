"""`manage.py export_events`: exact, formula-safe, whole or not at all, and in the way of nobody."""

import csv
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as project_settings
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from hypothesis import given
from hypothesis import strategies as st

from audit import api_pages
from audit import export as exporting
from audit.api_formats import csv_lines, json_lines
from audit.event_filters import EventFilter
from audit.events import Action
from audit.export import COLUMNS
from audit.models import AuditEvent
from tests.audit.test_api_events import NOON, OTHER, at, make_mirrored
from tests.factories import make_row

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001


def run(folder: Path, *arguments: str) -> bytes:
    path = folder / "export"
    call_command("export_events", "--output", str(path), *arguments, stderr=io.StringIO())
    return path.read_bytes()


def read_csv(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def read_lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.decode().split("\n")[:-1]]


class TestText:
    @given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
    def test_csv_reads_back_but_for_the_apostrophe(self, names: list[str]) -> None:
        text = csv_lines([{"a": name, "b": 1} for name in names], ["a", "b"], header=True)
        rows = list(csv.reader(io.StringIO(text, newline="")))
        assert rows[0] == ["a", "b"]
        assert rows[1:] == [[f"'{name}" if name.startswith(FORMULA) else name, "1"] for name in names]

    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def test_no_cell_of_text_begins_a_formula(self, name: str) -> None:
        (cell,) = next(csv.reader(io.StringIO(csv_lines([{"a": name}], ["a"], header=False), newline="")), [""])
        assert not cell.startswith(FORMULA)

    @given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
    def test_json_lines_are_exact(self, names: list[str]) -> None:
        rows = [{"file_name": name, "payload": json.dumps({"name": name})} for name in names]
        assert read_lines(json_lines(rows).encode()) == [
            {"file_name": name, "payload": {"name": name}} for name in names
        ]

    def test_negative_numbers_are_no_formulas(self) -> None:
        assert csv_lines([{"a": -5}], ["a"], header=False) == "-5\r\n"


@pytest.mark.django_db
class TestExport:
    def test_oldest_comes_first_in_both_forms(self, tmp_path: Path) -> None:
        rows = [
            make_row(timestamp_ns=at(NOON + timedelta(minutes=minute)), file_name=f"{minute}") for minute in (2, 0, 1)
        ]
        ids = [str(row.event_id) for row in sorted(rows, key=lambda row: row.occurred_at)]
        assert [row["event_id"] for row in read_csv(run(tmp_path))] == ids
        assert [row["event_id"] for row in read_lines(run(tmp_path, "--format", "jsonl"))] == ids

    def test_values_are_those_of_the_trail(self, tmp_path: Path) -> None:
        row = make_row(file_name="=cmd|'/c calc'!A0", size_bytes=5, skipped=True)
        (found,) = read_lines(run(tmp_path, "--format", "jsonl"))
        assert list(found) == COLUMNS
        assert (found["file_name"], found["size_bytes"], found["kind"]) == (row.file_name, 5, "deduplicated")
        assert found["payload"] == json.loads(row.payload)
        (found,) = read_csv(run(tmp_path))
        assert (found["file_name"], found["payload"]) == (f"'{row.file_name}", row.payload)

    def test_every_event_comes_once_over_many_batches(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exporting, "BATCH", 3)
        monkeypatch.setattr(api_pages, "LOOKED_AT", 4)
        ids = [str(make_row(timestamp_ns=at(NOON), file_name=f"{n % 2}").event_id) for n in range(20)]
        assert [row["event_id"] for row in read_csv(run(tmp_path))] == ids
        assert [row["event_id"] for row in read_csv(run(tmp_path, "--file-name", "1"))] == ids[1::2]

    @pytest.mark.parametrize(
        ("arguments", "names"),
        [
            (["--org", str(OTHER)], ["b"]),
            (["--action", "downloaded"], ["c"]),
            (["--state", "mirrored"], ["d"]),
            (["--from", "2026-11-24T13:00:00Z", "--to", "2026-11-24T14:00:00Z"], ["b"]),
            (["--min-size", "1kB"], ["c"]),
            (["--file-name", "z"], []),
        ],
    )
    def test_filters_are_those_of_the_api(self, tmp_path: Path, arguments: list[str], names: list[str]) -> None:
        make_row(timestamp_ns=at(NOON), file_name="a")
        make_row(timestamp_ns=at(NOON + timedelta(hours=1)), file_name="b", org_id=OTHER)
        make_row(timestamp_ns=at(NOON + timedelta(hours=2)), file_name="c", action=Action.DOWNLOADED, size_bytes=1000)
        make_mirrored("{}", occurred_at=NOON + timedelta(hours=3), file_name="d")
        # This clock of the tests may stand before noon of that day.
        arguments = arguments if "--to" in arguments else [*arguments, "--to", "2027-01-01"]
        assert [row["file_name"] for row in read_csv(run(tmp_path, *arguments))] == names

    def test_what_happens_meanwhile_is_not_waited_for(self, tmp_path: Path) -> None:
        make_row(file_name="now")
        make_mirrored("{}", occurred_at=datetime.now(UTC) + timedelta(hours=1), file_name="later")
        assert [row["file_name"] for row in read_csv(run(tmp_path))] == ["now"]

    def test_compressed(self, tmp_path: Path) -> None:
        make_row()
        assert gzip.decompress(run(tmp_path, "--compress")) == run(tmp_path)
        assert run(tmp_path, "--compress") == run(tmp_path, "--compress")

    def test_count_is_told(self, tmp_path: Path) -> None:
        make_row()
        told = io.StringIO()
        call_command("export_events", "--output", str(tmp_path / "export"), stderr=told)
        assert "1 event exported." in told.getvalue()

    def test_standard_output_has_nothing_but_the_events(self, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
        make_row(file_name="a\u2028é")
        call_command("export_events", "--format", "jsonl")
        out, err = capfdbinary.readouterr()
        assert [row["file_name"] for row in read_lines(out)] == ["a\u2028é"]
        assert err.startswith(b"1 event exported.")

    def test_failure_leaves_the_old_file_as_it_was(self, tmp_path: Path) -> None:
        (tmp_path / "export").write_bytes(b"old")

        def refuse(*args: object) -> None:
            raise OperationalError("gone")

        with connection.execute_wrapper(refuse), pytest.raises(CommandError, match="The database failed: gone"):
            run(tmp_path)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"export": b"old"}

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_interrupted_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
    ) -> None:
        before = signal.getsignal(number)
        monkeypatch.setattr(api_pages, "read_page", lambda *args, **kwargs: signal.raise_signal(number))
        with pytest.raises(CommandError, match="Interrupted"):
            run(tmp_path)
        assert list(tmp_path.iterdir()) == []
        assert signal.getsignal(number) == before

    def test_file_that_cannot_be_written(self, tmp_path: Path) -> None:
        with pytest.raises(CommandError, match="No such file or directory"):
            call_command("export_events", "--output", str(tmp_path / "no" / "folder"))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--min-size", "many"], "--min-size: Not a size"),
            (["--org", "acme"], "--org: Must be a valid UUID"),
            (["--from", "2026-11-24", "--to", "2026-11-24"], "--to: It must be later"),
            (["--file-name", "\udcff"], "--file-name: "),
            (["--digest", ""], "--digest: Not a digest"),
        ],
    )
    def test_nonsense_is_refused_by_name(self, tmp_path: Path, arguments: list[str], message: str) -> None:
        with pytest.raises(CommandError, match=message):
            run(tmp_path, *arguments)
        assert list(tmp_path.iterdir()) == []

    def test_progress_tells_how_many_and_up_to_when(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exporting, "BATCH", 1)
        rows = [make_row(timestamp_ns=at(NOON + timedelta(hours=hour))) for hour in range(3)]
        told: list[tuple[int, datetime]] = []
        count = exporting.export(
            EventFilter.of({}), "csv", io.BytesIO(), lambda count, time: told.append((count, time))
        )
        assert count == 3
        assert told == [(1, rows[0].occurred_at), (2, rows[1].occurred_at)]


@pytest.mark.django_db(transaction=True)
class TestInTheWayOfNobody:
    def test_no_transaction_is_open_between_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exporting, "BATCH", 1)
        for _ in range(3):
            make_row()
        seen: list[int] = []

        def write_meanwhile(count: int, time: datetime) -> None:
            assert not connection.in_atomic_block
            with connection.cursor() as cursor:  # a lock that a reader had left behind would refuse this
                cursor.execute("UPDATE audit_auditevent SET attempts = attempts + 1")
            seen.append(count)

        asked = EventFilter.of({"to": datetime.now(UTC) + timedelta(hours=1)})
        assert exporting.export(asked, "csv", io.BytesIO(), write_meanwhile) == 3
        assert seen == [1, 2]
        assert set(AuditEvent.objects.values_list("attempts", flat=True)) == {2}

    def test_reader_that_leaves_ends_it_without_a_traceback(self) -> None:
        for _ in range(300):
            make_row(file_name="x" * 255, event_id=uuid.uuid4())
        name = connection.settings_dict["NAME"]
        base = os.environ.get("DATABASE_URL", "")
        url = f"{base.rsplit('/', 1)[0]}/{name}" if base else f"sqlite:///{name}"
        connection.close()
        process = subprocess.Popen(
            [sys.executable, "manage.py", "export_events"],
            cwd=project_settings.BASE_DIR,
            env={**os.environ, "DATABASE_URL": url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        process.stdout.close()
        _, err = process.communicate(timeout=60)
        assert process.returncode == 1
        assert err.decode().strip() == "CommandError: Nobody reads on."
