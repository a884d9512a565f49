"""The trail only grows."""

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.utils import timezone

from audit.models import AppendOnlyError, AuditEvent, State
from tests.factories import make_event, make_row

pytestmark = pytest.mark.django_db


def test_row_says_what_its_event_says() -> None:
    row = make_row(file_name="a.txt", size_bytes=12, skipped=True)
    row.refresh_from_db()
    assert (row.file_name, row.size_bytes, row.skipped, row.state) == ("a.txt", 12, True, "pending")
    assert row.payload.startswith('{"EventType":"AUDIT_EVENT"')
    assert row.subject == "audit.casartifact.casartifactuploaded"
    assert str(row) == f"event {row.event_id}"


def test_saved_row_cannot_be_saved_again() -> None:
    row = make_row()
    row.file_name = "another"
    with pytest.raises(AppendOnlyError):
        row.save()


def test_saving_under_the_key_of_another_row_overwrites_nothing() -> None:
    row = make_row(file_name="true.txt")
    forged = AuditEvent.of(make_event(file_name="forged.txt"), State.PENDING)
    forged.pk = row.pk
    with pytest.raises(IntegrityError), transaction.atomic():
        forged.save()
    assert AuditEvent.objects.get().file_name == "true.txt"


def test_insert_that_updates_what_it_meets_is_refused() -> None:
    row = make_row()
    with pytest.raises(AppendOnlyError):
        AuditEvent.objects.bulk_create(
            [AuditEvent.of(make_event(event_id=row.event_id, file_name="forged.txt"), State.PENDING)],
            update_conflicts=True,
            unique_fields=["event_id"],
            update_fields=["file_name"],
        )
    assert AuditEvent.objects.get().file_name == row.file_name


def test_row_cannot_be_deleted() -> None:
    row = make_row()
    with pytest.raises(AppendOnlyError):
        row.delete()
    with pytest.raises(AppendOnlyError):
        AuditEvent.objects.all().delete()
    assert AuditEvent.objects.count() == 1


@pytest.mark.parametrize(
    "column", ["file_name", "digest", "org_id", "size_bytes", "payload", "occurred_at", "event_id"]
)
def test_history_cannot_be_updated(column: str) -> None:
    row = make_row()
    with pytest.raises(AppendOnlyError, match=column):
        AuditEvent.objects.update(**{column: getattr(row, column)})
    with pytest.raises(AppendOnlyError, match=column):
        AuditEvent.objects.bulk_update([row], [column])


def test_delivery_can_be_updated() -> None:
    make_row()
    AuditEvent.objects.update(state=State.FAILED, last_error="because", attempts=F("attempts") + 1)
    assert AuditEvent.objects.get().state == "failed"


@pytest.mark.skipif(connection.vendor != "sqlite", reason="the plan is written as SQLite writes it")
def test_looking_for_pending_rows_uses_an_index_of_those_alone() -> None:
    plan = AuditEvent.objects.filter(state=State.PENDING).order_by("id")[:256].explain()
    assert "audit_pending" in plan


def test_insert_that_updates_what_it_meets_is_refused_however_it_is_asked_for() -> None:
    row = make_row()
    forged = AuditEvent.of(make_event(event_id=row.event_id, file_name="forged.txt"), State.PENDING)
    with pytest.raises(AppendOnlyError):
        AuditEvent.objects.bulk_create([forged], None, False, True, ["file_name"], ["event_id"])  # noqa: FBT003
    assert AuditEvent.objects.get().file_name == row.file_name


def test_update_or_create_creates_and_does_not_update() -> None:
    row = make_row()
    with pytest.raises(AppendOnlyError):
        AuditEvent.objects.update_or_create(event_id=row.event_id, defaults={"file_name": "forged.txt"})
    assert AuditEvent.objects.get().file_name == row.file_name


def test_history_beside_a_delivery_field_cannot_be_updated() -> None:
    row = make_row()
    with pytest.raises(AppendOnlyError, match="file_name"):
        AuditEvent.objects.update(state=State.FAILED, file_name="forged.txt")
    row.refresh_from_db()
    assert (row.state, row.file_name) == ("pending", "content.txt")


def test_delivery_of_many_rows_can_be_updated_at_once() -> None:
    rows = [make_row(), make_row()]
    for sequence, row in enumerate(rows, start=1):
        row.stream_sequence = sequence
    AuditEvent.objects.bulk_update(rows, ["stream_sequence"])
    assert list(AuditEvent.objects.order_by("id").values_list("stream_sequence", flat=True)) == [1, 2]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="the plan is written as SQLite writes it")
def test_claiming_reads_no_row_that_is_not_pending_and_sorts_nothing() -> None:
    due = AuditEvent.objects.filter(state=State.PENDING, due_at__lte=timezone.now()).order_by("id")
    plan = due[:256].explain()
    assert "audit_pending" in plan
    assert "TEMP B-TREE" not in plan
