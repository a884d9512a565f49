import uuid
from datetime import datetime, timedelta

import pytest

from audit.event_rows import row_of
from audit.events import Action, Event
from audit.models import AuditEvent, State

pytestmark = pytest.mark.django_db

A_DOWNLOAD = Event(
    event_id=uuid.UUID(int=1),
    timestamp_ns=1_700_000_000_123_456_789,
    action=Action.DOWNLOADED,
    org_id=uuid.UUID(int=2),
    digest="a" * 64,
    size_bytes=7,
    file_name="sbom.json",
    backend="AWS-S3",
    location="bucket",
)
# Of which every value that an event has differs.
A_SKIPPED_UPLOAD = Event(
    event_id=uuid.UUID(int=3),
    timestamp_ns=1_800_000_000_000_000_000,
    action=Action.UPLOADED,
    org_id=uuid.UUID(int=4),
    digest="b" * 64,
    size_bytes=2**40,
    file_name="<ü>",
    backend="FILESYSTEM",
    location="default",
    skipped=True,
)


@pytest.mark.parametrize("event", [A_DOWNLOAD, A_SKIPPED_UPLOAD])
@pytest.mark.parametrize("state", State)
def test_row_is_the_one_that_the_model_makes(event: Event, state: State) -> None:
    rows = [AuditEvent.column_values(event, state), row_of(event, state), AuditEvent.column_values(event, state)]
    names = [field.attname for field in AuditEvent._meta.local_concrete_fields if not field.primary_key]
    # The one value that is not the event's, and to the second.
    before, due, after = (datetime.fromisoformat(str(row.pop(names.index("due_at")))) for row in rows)
    assert before - timedelta(seconds=1) < due <= after
    assert rows[1] == rows[0]
    assert list(map(type, rows[1])) == list(map(type, rows[0]))
