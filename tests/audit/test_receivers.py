"""From a signal to a row, or to a file; never to an exception."""

import uuid
from typing import Any

import pytest
from django.conf import settings as project_settings
from django.db import OperationalError, connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import Client
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from artifacts.models import Artifact, Location
from artifacts.signals import artifact_downloaded, artifact_uploaded
from artifacts.tokens import DOWNLOADER
from audit import intake, journal, keeping, nudge, receivers, write_ahead
from audit.models import AuditEvent
from common import group_commit
from tests.audit.trails import give_free_ids, give_taken_ids
from tests.factories import ORGANIZATION, bearer, digest_of, make_event, make_row

CONTENT = b"some content"
URL = f"/artifacts/{digest_of(CONTENT)}"


@pytest.fixture
def nudges(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry a nudge; the thread itself stays asleep."""
    woken: list[None] = []
    monkeypatch.setattr(nudge, "wake", lambda: woken.append(None))
    return woken


def values(**changes: Any) -> dict[str, Any]:
    return {
        "digest": digest_of(CONTENT).hex,
        "size_bytes": 12,
        "file_name": "a.txt",
        "backend": "FILESYSTEM",
        "location": "default",
        "org_id": str(ORGANIZATION),
        "source_internal": False,
        **changes,
    }


@pytest.mark.django_db
def test_each_transfer_becomes_a_row(client: Client, location: Location) -> None:
    client.put(f"{URL}?filename=a.txt", CONTENT, headers=bearer())
    client.put(f"{URL}?filename=b.txt", CONTENT, headers=bearer())
    client.get(URL, headers=bearer(DOWNLOADER))
    rows = AuditEvent.objects.order_by("id").values_list("action", "skipped", "file_name", "size_bytes", "location")
    assert list(rows) == [
        ("CASArtifactUploaded", False, "a.txt", 12, "default"),
        ("CASArtifactUploaded", True, "b.txt", 12, "default"),
        ("CASArtifactDownloaded", False, "a.txt", 12, "default"),
    ]
    assert {row.org_id for row in AuditEvent.objects.all()} == {ORGANIZATION}


@pytest.mark.django_db
def test_internal_traffic_makes_no_row() -> None:
    artifact_uploaded.send(sender=Artifact, **values(source_internal=True))
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("org_id", ["", "acme", "1089bb36-e27b-428b-8009", "\r\nInjected: yes"])
def test_transfer_of_no_organization_makes_a_warning_and_no_row(org_id: str, caplog: pytest.LogCaptureFixture) -> None:
    artifact_uploaded.send(sender=Artifact, **values(org_id=org_id))
    assert not AuditEvent.objects.exists()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "\n" not in caplog.records[0].getMessage()


@pytest.mark.django_db
@pytest.mark.parametrize(("url", "state", "count"), [("", "local", 0), ("nats://127.0.0.1:1", "pending", 1)])
def test_row_waits_for_nats_only_where_there_is_one(
    url: str,
    state: str,
    count: int,
    settings: Settings,
    nudges: list[None],
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    settings.NATS_URL = url
    with django_capture_on_commit_callbacks(execute=True):
        artifact_downloaded.send(sender=Artifact, **values())
    assert AuditEvent.objects.get().state == state
    assert len(nudges) == count


@pytest.mark.django_db(transaction=True)
def test_row_goes_with_the_transaction_that_records_the_upload(settings: Settings, nudges: list[None]) -> None:
    settings.NATS_URL = "nats://127.0.0.1:1"
    with pytest.raises(RuntimeError):
        upload_that_fails_later()
    assert not AuditEvent.objects.exists()
    assert nudges == []


@transaction.atomic
def upload_that_fails_later() -> None:
    artifact_uploaded.send(sender=Artifact, **values())
    raise RuntimeError


def refuse(*args: object, **kwargs: object) -> None:
    raise OperationalError("no such table: audit_auditevent")


@pytest.mark.django_db(transaction=True)
def test_event_that_the_database_refuses_waits_in_a_file_and_the_upload_succeeds(
    client: Client, location: Location, nudges: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as gone:
        gone.setattr(keeping, "insertion", lambda: refuse)
        assert client.put(URL, CONTENT, headers=bearer()).status_code == 201
    assert Artifact.objects.count() == 1
    assert len(write_ahead.segments()) == 1
    assert len(nudges) == 1
    assert intake.take_in() == 1
    assert AuditEvent.objects.get().digest == digest_of(CONTENT).hex


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite gives no id that is taken")
@pytest.mark.django_db(transaction=True)
def test_event_that_gets_a_taken_id_waits_in_a_file_until_the_sequence_is_set(
    client: Client, location: Location, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(9):
        make_row()
    give_taken_ids()
    assert client.put(URL, CONTENT, headers=bearer()).status_code == 201
    assert client.get(URL, headers=bearer(DOWNLOADER)).getvalue() == CONTENT
    journal.append(make_event())
    assert intake.take_in() == 0
    assert (len(write_ahead.segments()), len(journal.pending()), AuditEvent.objects.count()) == (1, 1, 9)
    assert "audit_auditevent_pkey" in caplog.text
    give_free_ids()
    assert intake.take_in() == 3
    assert AuditEvent.objects.count() == 12


@pytest.mark.django_db(transaction=True)
def test_event_of_an_upload_that_was_not_recorded_waits_nowhere(
    nudges: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "insertion", lambda: refuse)
    with pytest.raises(RuntimeError):
        upload_that_fails_later()
    assert write_ahead.segments() == journal.pending() == []


@pytest.mark.django_db(transaction=True)
def test_download_without_a_database_waits_in_the_write_ahead_log(
    nudges: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    group_commit.stop()
    with monkeypatch.context() as gone:
        gone.setattr(BaseDatabaseWrapper, "connect", refuse)
        receivers.on_download(sender=Artifact, signal=artifact_downloaded, **values())
    assert len(nudges) == 1
    assert intake.take_in() == 1
    assert AuditEvent.objects.get().action == "CASArtifactDownloaded"


def fill_disk(event: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.django_db(transaction=True)
def test_event_that_no_log_takes_goes_to_the_journal(
    client: Client, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_ahead, "append_durably", fill_disk)
    with monkeypatch.context() as gone:
        gone.setattr(keeping, "insertion", lambda: refuse)
        assert client.put(URL, CONTENT, headers=bearer()).status_code == 201
    assert len(journal.pending()) == 1
    assert intake.take_in() == 1


@pytest.mark.django_db(transaction=True)
def test_full_disk_does_not_fail_the_upload(
    client: Client, location: Location, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keeping, "insertion", lambda: refuse)
    monkeypatch.setattr(write_ahead, "append_durably", fill_disk)
    monkeypatch.setattr(journal, "_folder", lambda: project_settings.CAS_DATA_DIR / "keys" / "token-public.pem" / "x")
    assert client.put(URL, CONTENT, headers=bearer()).status_code == 201
    critical = [record.getMessage() for record in caplog.records if record.levelname == "CRITICAL"]
    assert len(critical) == 1
    assert digest_of(CONTENT).hex in critical[0]


@pytest.mark.django_db
def test_each_event_has_an_id_of_its_own() -> None:
    for _ in range(3):
        artifact_downloaded.send(sender=Artifact, **values())
    ids = set(AuditEvent.objects.values_list("event_id", flat=True))
    assert len(ids) == 3
    assert all(isinstance(event_id, uuid.UUID) for event_id in ids)


@pytest.mark.django_db(transaction=True)
def test_event_waits_in_a_file_no_sooner_than_its_upload_is_committed(
    nudges: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "insertion", lambda: refuse)
    with transaction.atomic():
        artifact_uploaded.send(sender=Artifact, **values())
        assert (write_ahead.segments(), nudges) == ([], [])
    assert (len(write_ahead.segments()), len(nudges)) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_skipped_upload_and_download_that_the_database_does_not_audit_succeed_and_wait(
    client: Client, location: Location, nudges: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    client.put(f"{URL}?filename=a.txt", CONTENT, headers=bearer())
    with monkeypatch.context() as refusing:
        refusing.setattr(keeping, "insertion", lambda: refuse)
        assert client.put(URL, CONTENT, headers=bearer()).status_code == 200
        answer = client.get(URL, headers=bearer(DOWNLOADER))
        assert answer.getvalue() == CONTENT
    assert intake.take_in() == 2
    rows = AuditEvent.objects.order_by("occurred_at").values_list("action", "skipped", "file_name", "size_bytes")
    assert list(rows) == [
        ("CASArtifactUploaded", False, "a.txt", 12),
        ("CASArtifactUploaded", True, "a.txt", 12),
        ("CASArtifactDownloaded", False, "a.txt", 12),
    ]


@pytest.mark.django_db
@pytest.mark.parametrize("claims", [{"source-internal": True}, {"org-id": ""}, {"org-id": None}, {"org-id": "acme"}])
def test_transfer_that_is_not_audited_succeeds(claims: dict[str, Any], client: Client, location: Location) -> None:
    assert client.put(URL, CONTENT, headers=bearer(**claims)).status_code == 201
    assert client.put(URL, CONTENT, headers=bearer(**claims)).status_code == 200
    answer = client.get(URL, headers=bearer(DOWNLOADER, **claims))
    assert answer.getvalue() == CONTENT
    assert not AuditEvent.objects.exists()
    assert write_ahead.segments() == journal.pending() == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    "org_id", ["0x" + "a" * 30, " " + "a" * 30 + " ", "a_" * 15 + "aa", "\N{FULLWIDTH DIGIT FOUR}" * 32]
)
def test_what_only_python_takes_for_a_uuid_names_no_organization(org_id: str, caplog: pytest.LogCaptureFixture) -> None:
    artifact_uploaded.send(sender=Artifact, **values(org_id=org_id))
    assert not AuditEvent.objects.exists()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.django_db
@pytest.mark.parametrize("org_id", [str(ORGANIZATION), str(ORGANIZATION).upper()])
def test_uuid_in_either_case_is_the_same_organization(org_id: str) -> None:
    artifact_uploaded.send(sender=Artifact, **values(org_id=org_id))
    row = AuditEvent.objects.get()
    assert row.org_id == ORGANIZATION
    assert f'"OrgID":"{ORGANIZATION}"' in row.payload


@pytest.mark.django_db
@pytest.mark.parametrize("form", ["urn:uuid:{}", "URN:UUID:{}", "Urn:Uuid:{}", "{{{}}}"])
def test_any_form_of_a_uuid_is_a_row_or_a_warning_and_never_an_exception(
    form: str, caplog: pytest.LogCaptureFixture
) -> None:
    receivers.on_upload(sender=Artifact, signal=artifact_uploaded, **values(org_id=form.format(ORGANIZATION)))
    assert AuditEvent.objects.filter(org_id=ORGANIZATION).exists() or "not a UUID" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_whatever_goes_wrong_after_the_commit_the_upload_succeeds(
    client: Client, location: Location, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("nobody thought of this")

    settings.NATS_URL = "nats://127.0.0.1:1"
    monkeypatch.setattr(nudge, "wake", fail)
    assert client.put(URL, CONTENT, headers=bearer()).status_code == 201
    assert AuditEvent.objects.get().state == "pending"
    monkeypatch.setattr(journal, "append", fail)
    monkeypatch.setattr(keeping, "insertion", lambda: refuse)
    assert client.put(URL, CONTENT, headers=bearer()).status_code == 200
