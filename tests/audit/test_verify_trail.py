"""`manage.py verify_trail`: what it says, and with which status it leaves."""

import io
import json
import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as project
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.utils import timezone

from audit import freshness, last_checkpoint
from audit.checkpointing import IDLE
from audit.models import AuditEvent, RemovedEvents, State, TrailHead
from casproject.variables import env
from tests.audit.trails import checkpoint_now, cut, make_trail, old_ns, rewrite_links, seal_all, sql, verify
from tests.factories import database_url, make_row

pytestmark = pytest.mark.django_db


def test_sound_trail_is_said_to_be(public_key: Path) -> None:
    make_trail(2, 3)
    status, text = verify("--public-key", public_key)
    assert status == 0
    assert "positions 1 to 7: 7 events, 0 removed by retention, 0 not sealed yet" in text
    assert "2 checkpoints, 2 with a valid signature" in text
    assert "last signed checkpoint: 2 of " in text
    assert text.endswith("Everything is as it was sealed.\n")


def test_altered_row_is_named_with_status_1(public_key: Path) -> None:
    make_trail(2, 3)
    row = AuditEvent.objects.get(position=4)
    sql("UPDATE audit_auditevent SET file_name = 'forged' WHERE position = 4")
    status, text = verify("--public-key", public_key)
    assert status == 1
    assert f"WRONG position 4, row {row.pk}, event {row.event_id}: is not what was sealed here" in text
    assert text.endswith("1 thing is wrong.\n")


def test_report_as_json(public_key: Path) -> None:
    make_trail(2)
    sql("UPDATE audit_auditevent SET file_name = 'forged' WHERE position = 2")
    status, text = verify("--public-key", public_key, "--json")
    report = json.loads(text)
    assert (status, report["is_sound"], report["finding_count"]) == (1, False, 1)
    assert report["findings"][0]["position"] == 2
    assert report["last_signed"]["number"] == 1


def test_without_a_key_it_says_that_no_signature_was_checked(public_key: Path) -> None:
    make_trail(2)
    status, text = verify()
    assert status == 0
    assert "No signature was checked" in text


def test_trail_that_is_not_signed_is_not_sound_for_who_has_a_key(public_key: Path, settings: Any) -> None:
    settings.CAS_CHECKPOINT_KEY = ""
    make_trail(2)
    status, text = verify("--public-key", public_key)
    assert status == 1
    assert "there is no signed checkpoint from position 1 on" in text


def test_last_checkpoint_that_is_old_is_named(public_key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_trail(2)
    now = timezone.now() + timedelta(hours=3)
    monkeypatch.setattr(timezone, "now", lambda: now)
    status, text = verify("--public-key", public_key)
    assert status == 1
    assert "the end of the trail was cut off, or nothing seals it" in text


@pytest.mark.parametrize("more", [0, 2])
def test_scan_of_what_is_new_goes_by_the_last_checkpoint_there_is(
    more: int, public_key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_trail(2)
    for _ in range(more):
        make_row()
    seal_all()
    status, text = verify("--public-key", public_key, "--from-position", 4)
    assert status == 0, text
    assert "last signed checkpoint: 1 of " in text
    now = timezone.now() + timedelta(hours=3)
    monkeypatch.setattr(timezone, "now", lambda: now)
    status, text = verify("--public-key", public_key, "--from-position", 4)
    assert status == 1
    assert "the end of the trail was cut off, or nothing seals it" in text


def test_scan_of_what_is_new_misses_a_signature_of_the_last_checkpoint(public_key: Path, settings: Any) -> None:
    make_trail(2)
    settings.CAS_CHECKPOINT_KEY = ""
    make_trail(2)
    status, text = verify("--public-key", public_key, "--from-position", 7)
    assert status == 1
    assert "there is no signed checkpoint from position 6 on" in text


def test_event_that_waits_for_long_is_named(public_key: Path) -> None:
    make_trail(2)
    row = make_row(State.LOCAL, timestamp_ns=old_ns(10))
    assert verify("--public-key", public_key)[0] == 0  # old, and only just here
    AuditEvent.objects.filter(pk=row.pk).update(due_at=timezone.now() - timedelta(hours=1))
    status, text = verify("--public-key", public_key)
    assert status == 1
    assert f"row {row.pk}, event {row.event_id}: waits to be sealed since" in text


def stream_lines() -> str:
    """All events as `audit_stream read` would print them."""
    return "".join(
        json.dumps({"sequence": number, "subject": e.subject, "id": str(e.event_id), "event": json.loads(e.payload)})
        + "\n"
        for number, e in enumerate(AuditEvent.objects.order_by("id"), start=1)
    )


def test_checkpoints_of_the_stream_are_found_in_the_trail(public_key: Path, tmp_path: Path) -> None:
    make_trail(2, 2)
    (tmp_path / "stream").write_text(stream_lines())
    status, text = verify("--public-key", public_key, "--checkpoint", tmp_path / "stream")
    assert status == 0
    assert "2 checkpoints that were given are in the trail" in text


@pytest.mark.parametrize("goes_on", [False, True])
def test_tail_that_was_cut_without_a_trace_lacks_what_the_stream_has(
    goes_on: bool, public_key: Path, tmp_path: Path
) -> None:
    make_trail(2, 2)
    (tmp_path / "stream").write_text(stream_lines())
    cut(5)
    if goes_on:
        last_checkpoint._file().unlink()  # who can do that, too, has the server sign what it finds
        make_trail(1)
    assert verify("--public-key", public_key)[0] == 0
    status, text = verify("--public-key", public_key, "--checkpoint", tmp_path / "stream")
    assert status == 1
    assert "WRONG position 6: checkpoint 2 of " in text
    assert "is not in the trail: its end was cut off, or it was written anew" in text


def test_trail_that_was_replaced_lacks_what_the_stream_has(public_key: Path, tmp_path: Path) -> None:
    make_trail(2)
    (tmp_path / "stream").write_text(stream_lines())
    sql("DELETE FROM audit_auditevent")
    sql("DELETE FROM audit_trailhead")
    last_checkpoint._file().unlink()
    make_trail(2)
    assert verify("--public-key", public_key)[0] == 0
    status, text = verify("--public-key", public_key, "--checkpoint", tmp_path / "stream")
    assert status == 1
    assert "is of another trail" in text


def test_rewritten_events_before_a_given_checkpoint_are_named(public_key: Path, tmp_path: Path) -> None:
    make_trail(2)
    (tmp_path / "stream").write_text(stream_lines())
    sql("UPDATE audit_auditevent SET file_name = 'forged' WHERE position = 2")
    rewrite_links(2)
    status, text = verify("--public-key", public_key, "--checkpoint", tmp_path / "stream")
    assert status == 1
    assert "was signed over other events than stand before it" in text


def test_checkpoint_that_was_forged_is_refused(public_key: Path, tmp_path: Path) -> None:
    make_trail(2)
    (tmp_path / "stream").write_text(stream_lines().replace('"number": 1', '"number": 9'))
    status, text = verify("--public-key", public_key, "--checkpoint", tmp_path / "stream")
    assert status == 1
    assert "checkpoint 9" in text
    assert "not what was signed" in text


def test_checkpoint_may_come_from_standard_input(public_key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_trail(2)
    payload = checkpoint_now().payload
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"no JSON\n[]\n{payload}\n"))
    assert verify("--public-key", public_key, "--checkpoint", "-")[0] == 0


def refuse(*arguments: object) -> str:
    """What it says when it cannot verify; its status is 2."""
    with pytest.raises(CommandError) as error:
        call_command("verify_trail", *map(str, arguments))
    assert error.value.returncode == 2
    return str(error.value)


@pytest.mark.parametrize("is_wiped", [False, True])
def test_trail_of_nothing_is_not_verified_for_who_has_a_key(is_wiped: bool, public_key: Path, tmp_path: Path) -> None:
    if is_wiped:
        make_trail(2)
        (tmp_path / "stream").write_text(stream_lines())
        for model in (AuditEvent, RemovedEvents, TrailHead):
            sql(f"DELETE FROM {model._meta.db_table}")  # noqa: S608
    for arguments in ([], ["--json"]):
        assert "Nothing was ever sealed in this database" in refuse("--public-key", public_key, *arguments)
    assert verify()[0] == 0
    if is_wiped:
        assert verify("--public-key", public_key, "--checkpoint", tmp_path / "stream")[0] == 1


def test_trail_of_nothing_but_what_waits_for_long_is_told(public_key: Path) -> None:
    row = make_row(State.LOCAL)
    assert "Nothing was ever sealed" in refuse("--public-key", public_key)
    AuditEvent.objects.filter(pk=row.pk).update(due_at=timezone.now() - timedelta(hours=1))
    assert verify("--public-key", public_key)[0] == 1


def test_what_cannot_be_verified_has_a_status_of_its_own(public_key: Path, tmp_path: Path) -> None:
    assert "cannot be read" in refuse("--public-key", tmp_path / "none")
    private = public_key.with_name("checkpoint-private.pem")
    assert "holds no public key" in refuse("--public-key", private)
    token_key = Path(project.CAS_DATA_DIR) / "keys" / "token-public.pem"
    assert "not Ed25519" in refuse("--public-key", token_key)
    assert "No such file" in refuse("--checkpoint", tmp_path / "none")
    (tmp_path / "empty").touch()
    assert "no checkpoint of this trail" in refuse("--checkpoint", tmp_path / "empty")


@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite keeps text in a column of bytes")
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_trailhead SET link = 'x'",
        "UPDATE audit_trailhead SET trail_id = 'x'",
        "UPDATE audit_trailhead SET position = 'x'",
        "UPDATE audit_auditevent SET position = 0, event_id = 'x' WHERE position = 1",
    ],
)
def test_value_of_no_kind_is_no_traceback(change: str, public_key: Path) -> None:
    make_trail(2)
    sql(change)
    with pytest.raises(CommandError, match="a value that is none of its kind") as error:
        call_command("verify_trail", "--public-key", str(public_key))
    assert error.value.returncode == 1


@pytest.mark.parametrize("position", ["0", "-1", "x", str(2**63)])
def test_what_is_no_position_is_refused(position: str) -> None:
    with pytest.raises(CommandError, match="is not a position"):
        call_command("verify_trail", "--from-position", position)


def bare_environment(url: str) -> dict[str, str]:
    """What somebody has who runs nothing of the server."""
    return {"DATABASE_URL": url, "PATH": os.environ["PATH"], "CAS_DATA_DIR": "/nonexistent"}


def run_bare(url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "manage.py", "verify_trail", *arguments],
        cwd=project.BASE_DIR,
        env=bare_environment(url),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.django_db(transaction=True)
def test_database_and_public_key_are_all_it_needs(public_key: Path) -> None:
    make_trail(2)
    connections.close_all()
    done = run_bare(database_url(), "--public-key", str(public_key))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite knows no users")
@pytest.mark.django_db(transaction=True)
def test_user_who_may_only_read_can_verify(public_key: Path) -> None:
    make_trail(2)
    sql("DROP ROLE IF EXISTS auditor")
    sql("CREATE ROLE auditor LOGIN")
    sql("GRANT SELECT ON audit_auditevent, audit_trailhead, audit_removedevents TO auditor")
    try:
        done = run_bare(database_url().replace("postgres@", "auditor@"), "--public-key", str(public_key))
        assert (done.returncode, done.stderr) == (0, "")
    finally:
        sql("DROP OWNED BY auditor")
        sql("DROP ROLE auditor")


def test_database_that_cannot_be_read_is_no_tampering(tmp_path: Path) -> None:
    done = run_bare(f"sqlite:///{tmp_path / 'empty.sqlite3'}")
    assert done.returncode == 2
    assert "The database failed" in done.stderr
    assert "Traceback" not in done.stderr


def test_slowest_that_may_be_set_is_not_taken_for_a_stop() -> None:
    limits = [env.variables[name].at_most for name in ("CAS_SEAL_SECONDS", "CAS_CHECKPOINT_SECONDS")]
    seal, checkpoint = (timedelta(seconds=limit or 0) for limit in limits)
    assert timedelta(0) < 2 * seal < freshness.UNSEALED
    assert timedelta(0) < checkpoint <= IDLE
    assert checkpoint + 2 * seal < freshness.STALE


def test_key_is_made_once(tmp_path: Path) -> None:
    out = io.StringIO()
    call_command("make_checkpoint_key", str(tmp_path), stdout=out, stderr=io.StringIO())
    assert out.getvalue() == f"CAS_CHECKPOINT_KEY={tmp_path / 'checkpoint-private.pem'}\n"
    assert (tmp_path / "checkpoint-private.pem").stat().st_mode & 0o777 == 0o600
    with pytest.raises(CommandError, match="is not overwritten"):
        call_command("make_checkpoint_key", str(tmp_path))


@pytest.mark.parametrize("page", ["operations.md", "trail.md"])
def test_documented_commands_name_one_key(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    text = (Path(project.BASE_DIR) / "docs" / page).read_text()
    made = re.findall(r"^manage.py make_checkpoint_key (\S+)", text, re.MULTILINE)
    for folder in made:
        call_command("make_checkpoint_key", str(Path(folder).expanduser()), stdout=io.StringIO(), stderr=io.StringIO())
    named = re.findall(r"^manage.py verify_trail --public-key (\S+)", text, re.MULTILINE)
    assert made
    assert named
    assert all(Path(key).expanduser().is_file() for key in named)


def test_key_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match="cannot be written to"):
        call_command("make_checkpoint_key", str(tmp_path / "file" / "folder"))
