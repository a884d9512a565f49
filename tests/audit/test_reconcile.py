"""Trail, stream and storage, compared."""

import io
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from artifacts.models import Artifact, Location
from audit import outbox
from audit.checkpoints import SUBJECT
from audit.models import AuditEvent, State
from tests.audit.streams import STREAM, make_stream, publish, publish_events, with_stream
from tests.audit.trails import checkpoint_now, old_ns, seal_all
from tests.factories import bearer, digest_of, make_event, make_row, stored_at
from tests.servers import NatsServer, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_publisher")]


def reconcile(*arguments: str, status: int = 0) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The differences and the summary."""
    out = io.StringIO()
    try:
        call_command("reconcile", "--json", *arguments, stdout=out)
        returned = 0
    except CommandError as error:
        returned = error.returncode
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert returned == status, lines
    return lines[:-1], lines[-1]["summary"]


def upload(client: Client, content: bytes) -> None:
    answer = client.put(f"/artifacts/{digest_of(content)}", content, "application/octet-stream", headers=bearer())
    assert answer.status_code == 201


def last_sequence(server: NatsServer) -> int:
    return with_stream(server.url, lambda stream: stream.stream_info(STREAM)).state.last_seq


def delete(server: NatsServer, sequence: int) -> None:
    with_stream(server.url, lambda stream: stream.delete_msg(STREAM, sequence))


def test_all_agree(server: NatsServer, root: Path, client: Client) -> None:
    for content in (b"one", b"two", b"three"):
        upload(client, content)
    assert not outbox.publish_pending()
    differences, summary = reconcile()
    assert differences == []
    assert summary["agrees"] is True
    assert summary["states"]["published"] == 3


def test_nothing_anywhere_agrees(server: NatsServer) -> None:
    assert reconcile()[0] == []


def test_event_that_the_stream_lost_is_named_and_published_again(server: NatsServer) -> None:
    kept, lost = make_row(location=""), make_row(location="")
    assert not outbox.publish_pending()
    lost.refresh_from_db()
    assert lost.stream_sequence
    delete(server, lost.stream_sequence)
    expected = [{"difference": "not_in_stream", "event_id": str(lost.event_id), "sequence": lost.stream_sequence}]
    assert reconcile(status=1)[0] == expected
    differences, summary = reconcile("--repair", status=1)
    assert differences == expected
    assert summary["to_be_published_again"] == 1
    lost.refresh_from_db()
    kept.refresh_from_db()
    assert (lost.state, kept.state) == (State.PENDING, State.PUBLISHED)
    assert "the stream lacks it" in lost.last_error

    def published_again() -> bool:
        assert not outbox.publish_pending()
        return not reconcile("--repair", status=0 if last_sequence(server) == 3 else 1)[0]

    wait_until(published_again, what="the stream's duplicate window passes, in which it takes it for a double")


def test_event_that_was_kept_without_nats_is_named_and_published(server: NatsServer) -> None:
    row = make_row(State.LOCAL, location="")
    expected = [{"difference": "not_in_stream", "event_id": str(row.event_id), "sequence": None}]
    assert reconcile(status=1)[0] == expected
    assert reconcile("--repair", status=1)[0] == expected
    row.refresh_from_db()
    assert (row.state, row.last_error) == (
        State.PENDING,
        "reconcile: the stream lacks it; it was kept without a NATS_URL",
    )
    assert not outbox.publish_pending()
    assert reconcile()[0] == []


def test_what_the_streams_limits_removed_is_not_expected(server: NatsServer) -> None:
    for _ in range(3):
        make_row(location="")
    assert not outbox.publish_pending()
    with_stream(server.url, lambda stream: stream.purge_stream(STREAM, seq=3))
    assert reconcile()[0] == []
    with_stream(server.url, lambda stream: stream.purge_stream(STREAM))
    assert reconcile()[0] == []


def test_stream_made_anew_lacks_all(server: NatsServer) -> None:
    rows = [make_row(location="") for _ in range(3)]
    assert not outbox.publish_pending()
    with_stream(server.url, lambda stream: stream.delete_stream(STREAM))
    make_stream(server.url)
    differences, _ = reconcile("--repair", status=1)
    assert {found["event_id"] for found in differences} == {str(row.event_id) for row in rows}
    assert not outbox.publish_pending()
    assert reconcile()[0] == []


def test_message_that_the_trail_lacks_is_named_and_taken_in(server: NatsServer) -> None:
    event = make_event()
    publish(server.url, b"between")
    publish_events(server.url, event)
    publish(server.url, b"\xff\0", message_id=None)
    differences, _ = reconcile(status=1)
    assert {found["difference"] for found in differences} == {"not_in_trail"}
    assert {found["sequence"] for found in differences} == {1, 2, 3}
    _, summary = reconcile("--repair", status=1)
    assert summary["taken_in"] == 3
    assert AuditEvent.objects.get(event_id=event.event_id).state == State.MIRRORED
    assert reconcile()[0] == []


def test_message_older_than_retention_is_not_missed(server: NatsServer, settings: Settings) -> None:
    settings.AUDIT_RETENTION_DAYS = 1
    publish_events(server.url, make_event(timestamp_ns=time.time_ns() - 2 * 86400 * 10**9))
    assert reconcile("--repair")[0] == []
    assert not AuditEvent.objects.exists()


def test_time_is_half_open_on_both_sides(server: NatsServer) -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def at(moment: datetime) -> dict[str, Any]:
        return {"timestamp_ns": int(moment.timestamp()) * 10**9}

    ours = [make_row(location="", **at(noon + timedelta(hours=hours))) for hours in range(3)]
    assert not outbox.publish_pending()
    for sequence in (1, 2, 3):
        delete(server, sequence)
    foreign = [make_event(**at(noon + timedelta(hours=hours))) for hours in range(3)]
    publish_events(server.url, *foreign)
    # A stream whose first messages are gone is not expected to have them; a foreign one stands at sequence 4.
    AuditEvent.objects.update(stream_sequence=9)
    differences, _ = reconcile("--from", "2026-01-01T13:00:00", "--to", "2026-01-01T14:00:00", status=1)
    assert {found["event_id"] for found in differences} == {str(ours[1].event_id), str(foreign[1].event_id)}


@pytest.mark.parametrize("state", [State.PENDING, State.FAILED])
def test_what_is_not_published_differs(server: NatsServer, state: State) -> None:
    make_row(state, location="")
    differences, summary = reconcile(status=1)
    assert differences == []
    assert summary["states"][state] == 1


def test_many_are_compared_page_by_page(server: NatsServer) -> None:
    rows = [make_row(location="") for _ in range(1100)]
    while outbox.publish_pending():
        pass
    delete(server, 1100)
    differences, _ = reconcile(status=1)
    lost = AuditEvent.objects.get(stream_sequence=1100)
    assert [found["event_id"] for found in differences] == [str(lost.event_id)]
    assert len(rows) == 1100


def test_object_that_is_gone_is_named_by_its_label_and_its_upload(
    settings: Settings, root: Path, client: Client
) -> None:
    settings.NATS_URL = ""
    upload(client, b"kept")
    upload(client, b"gone")
    stored_at(root, b"gone").unlink()
    gone = {"digest": str(digest_of(b"gone")), "location": "FILESYSTEM/default"}
    differences, _ = reconcile(status=1)
    assert differences == [
        {"difference": "missing_object", **gone},
        {"difference": "upload_without_object", **gone},
    ]
    assert reconcile("--to", "2020-01-01", status=1)[0] == [{"difference": "missing_object", **gone}]


def test_object_without_a_label_is_named(settings: Settings, root: Path, client: Client) -> None:
    settings.NATS_URL = ""
    upload(client, b"content")
    Artifact.objects.all().delete()
    differences, _ = reconcile(status=1)
    assert [(found["difference"], found["digest"]) for found in differences] == [
        ("unlabelled_object", str(digest_of(b"content")))
    ]


def test_upload_to_a_location_that_is_no_more_is_named(settings: Settings) -> None:
    settings.NATS_URL = ""
    row = make_row(State.LOCAL, location="removed")
    differences, _ = reconcile(status=1)
    assert differences == [
        {"difference": "upload_without_object", "digest": f"sha256:{row.digest}", "location": "FILESYSTEM/removed"}
    ]


def test_storage_that_fails_is_said_and_the_others_are_compared(
    settings: Settings, root: Path, client: Client, tmp_path: Path
) -> None:
    settings.NATS_URL = ""
    Location.objects.create(name="broken", backend="FILESYSTEM", options={"location": str(tmp_path / "nowhere")})
    upload(client, b"gone")
    stored_at(root, b"gone").unlink()
    differences, summary = reconcile(status=2)
    assert "missing_object" in {found["difference"] for found in differences}
    assert summary["errors"]
    assert "FILESYSTEM/broken" in summary["errors"][0]


def test_storage_that_refuses_its_settings_is_said_with_what_it_refuses(settings: Settings, db: None) -> None:
    settings.NATS_URL = ""
    Location.objects.create(name="broken", backend="FILESYSTEM", options={"location": "/srv", "colour": 1})
    _, summary = reconcile(status=2)
    assert "unexpected keyword argument 'colour'" in summary["errors"][0]


@pytest.mark.parametrize("away", ["nats", "stream"])
def test_stream_that_cannot_be_read_is_said(server: NatsServer, settings: Settings, away: str) -> None:
    if away == "nats":
        settings.NATS_URL = "nats://127.0.0.1:1"
    else:
        with_stream(server.url, lambda stream: stream.delete_stream(STREAM))
    _, summary = reconcile(status=2)
    assert summary["agrees"] is False
    assert summary["errors"]


def test_text_names_and_counts(server: NatsServer) -> None:
    publish(server.url, b"foreign")
    out = io.StringIO()
    with pytest.raises(CommandError, match="Something differs"):
        call_command("reconcile", stdout=out)
    named, counts = out.getvalue().splitlines()
    assert named.startswith("not_in_trail ")
    assert "1 not_in_trail" in counts
    assert "0 pending" in counts


def test_comparing_leaves_no_consumer_behind_for_long(server: NatsServer) -> None:
    reconcile()
    (left,) = with_stream(server.url, lambda stream: stream.consumers_info(STREAM))
    assert left.config.durable_name is None
    assert left.config.inactive_threshold


def test_what_retention_removed_by_hand_does_not_return(server: NatsServer, settings: Settings) -> None:
    old, kept = make_row(location="", timestamp_ns=old_ns(10)), make_row(location="", timestamp_ns=old_ns(1))
    assert not outbox.publish_pending()
    seal_all()
    checkpoint_now()
    assert not outbox.publish_pending()
    call_command("remove_expired_events", "--days", "7", stdout=io.StringIO())
    call_command("remove_expired_events", "--days", "20", stdout=io.StringIO())
    assert not AuditEvent.objects.filter(event_id=old.event_id).exists()
    for days in (0, 30):
        settings.AUDIT_RETENTION_DAYS = days
        assert reconcile("--repair")[0] == []
        call_command("mirror_stream", "--consumer", f"anew-{days}", stdout=io.StringIO())
        states = dict(AuditEvent.objects.exclude(subject=SUBJECT).values_list("event_id", "state"))
        assert states == {kept.event_id: State.PUBLISHED}
