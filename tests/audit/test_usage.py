"""The consumer arithmetic."""

import json
import uuid
from typing import Any

import pytest

from audit.events import Action
from audit.usage import Usage, usage_by_organization
from tests.factories import make_event

ONE, OTHER = uuid.uuid4(), uuid.uuid4()


def payload(**values: Any) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(make_event(**values).payload())
    return result


def test_bytes_are_summed_by_what_happened_and_by_whom() -> None:
    events = [
        payload(org_id=ONE, size_bytes=100),
        payload(org_id=ONE, size_bytes=20),
        payload(org_id=ONE, size_bytes=3, skipped=True),
        payload(org_id=ONE, size_bytes=7000, action=Action.DOWNLOADED),
        payload(org_id=OTHER, size_bytes=5),
    ]
    assert usage_by_organization(events) == {
        str(ONE): Usage(120, 7000, 3, uploads=2, downloads=1, skipped_uploads=1),
        str(OTHER): Usage(5, 0, 0, uploads=1),
    }


@pytest.mark.parametrize("info", [{"size_bytes": 5}, {"size_bytes": "large"}, {}, None, []])
def test_other_kinds_of_event_count_nothing(info: object) -> None:
    other = {"Data": {"ActionType": "OrgCreated", "OrgID": str(ONE), "Info": info}}
    assert usage_by_organization([other]) == {str(ONE): Usage()}


def test_upload_of_unknown_size_counts_as_a_transfer() -> None:
    event = payload(org_id=ONE)
    del event["Data"]["Info"]["size_bytes"]
    assert usage_by_organization([event]) == {str(ONE): Usage(uploads=1)}


def test_event_of_no_organization_counts_for_none() -> None:
    other: dict[str, Any] = {"Data": {"ActionType": "UserSignedUp", "OrgID": None, "Info": {}}}
    assert usage_by_organization([other, payload(org_id=ONE, size_bytes=5)]) == {str(ONE): Usage(5, uploads=1)}


def test_no_events_are_nobodys_usage() -> None:
    assert usage_by_organization([]) == {}


def test_dedup_savings_are_neither_uploaded_nor_downloaded() -> None:
    usage = Usage()
    for size in (2**40, 1, 0):
        usage.add(payload(skipped=True, size_bytes=size)["Data"])
    assert usage == Usage(saved_bytes=2**40 + 1, skipped_uploads=3)
