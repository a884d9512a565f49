"""Events to the byte: worked cases, golden payloads, and what Go's encoder does that Python's does not."""

import json
import re
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.events import Action, Event, go_json, go_timestamp, kind_of
from tests.factories import make_event

VECTORS = json.loads(Path(__file__).with_name("casartifact.json").read_text())
HEX = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
TIMESTAMP = 1_795_509_390_293_463_461


def event_of(case: dict[str, Any]) -> Event:
    return make_event(
        action=Action(case["action"]),
        org_id=uuid.UUID(case["org"]),
        digest=case["digest"],
        size_bytes=case["size"],
        file_name=case["name"],
        backend=case["backend"],
        skipped=case["skipped"],
    )


@pytest.mark.parametrize("vector", VECTORS)
def test_worked_case_is_met_to_the_byte(vector: dict[str, Any]) -> None:
    event = event_of(vector["in"])
    assert event.info() == vector["info_bytes"]
    assert f'"Info":{vector["info_bytes"]},"Digest":"{vector["digest"]}"}}}}' in event.payload()


DOWNLOAD = {"action": Action.DOWNLOADED, "size_bytes": 1_099_511_627_777, "backend": ""}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("uploaded", {"size_bytes": 1024, "file_name": "a<b>&c.txt", "backend": "OCI"}),
        ("uploaded-unnamed", {"size_bytes": 1024, "file_name": "", "backend": "OCI"}),
        ("skipped", {"size_bytes": 0, "file_name": "sbom.cyclonedx.json", "backend": "AWS-S3", "skipped": True}),
        ("downloaded", {"file_name": "sbom.cyclonedx.json", **DOWNLOAD}),
        ("downloaded-unnamed", {"file_name": "", **DOWNLOAD}),
    ],
)
def test_payload_is_the_golden_one_to_the_byte(name: str, values: dict[str, Any]) -> None:
    event = make_event(digest=HEX, timestamp_ns=TIMESTAMP, **values)
    assert event.payload() + "\n" == (Path(__file__).parent / "payloads" / f"{name}.json").read_text()


@pytest.mark.parametrize(
    ("values", "description"),
    [
        ({"action": Action.UPLOADED}, f"artifact {HEX} (7 bytes) was uploaded"),
        ({"action": Action.DOWNLOADED}, f"artifact {HEX} (7 bytes) was downloaded"),
        ({"action": Action.UPLOADED, "skipped": True}, f"upload of artifact {HEX} skipped, already exists"),
    ],
)
def test_description_says_what_happened(values: dict[str, Any], description: str) -> None:
    assert make_event(digest=HEX, **values).description() == description


def test_download_has_no_skipped_and_empty_values_are_left_out() -> None:
    event = make_event(action=Action.DOWNLOADED, digest=HEX, file_name="", backend="")
    assert event.info() == f'{{"digest":"{HEX}","size_bytes":7}}'


def test_subject_is_the_action_in_lower_case() -> None:
    assert make_event(action=Action.UPLOADED).subject == "audit.casartifact.casartifactuploaded"
    assert make_event(action=Action.DOWNLOADED).subject == "audit.casartifact.casartifactdownloaded"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("<>&", r"\u003c\u003e\u0026"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\b\f\n\r\t", r"\b\f\n\r\t"),
        ("\x00\x1f\x0b", r"\u0000\u001f\u000b"),
        ("\x7f", "\x7f"),
        ('"\\/', r"\"\\/"),
        ("ünï 日本 🎉", "ünï 日本 🎉"),
        ("\ud800 \udfff", r"\ufffd \ufffd"),
    ],
)
def test_strings_are_escaped_as_go_does(text: str, written: str) -> None:
    assert go_json(text) == f'"{written}"'


@pytest.mark.parametrize(
    ("nanoseconds", "written"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (TIMESTAMP, "2026-11-24T08:36:30.293463461Z"),
        (1_795_509_390_500_000_000, "2026-11-24T08:36:30.5Z"),
        (1_795_509_390_000_000_001, "2026-11-24T08:36:30.000000001Z"),
        (1_795_509_400_000_000_000, "2026-11-24T08:36:40Z"),
    ],
)
def test_timestamp_has_nanoseconds_without_trailing_zeros(nanoseconds: int, written: str) -> None:
    assert go_timestamp(nanoseconds) == written


def test_occurred_at_is_the_timestamp_to_the_microsecond() -> None:
    event = make_event(timestamp_ns=TIMESTAMP)
    assert event.occurred_at == datetime(2026, 11, 24, 8, 36, 30, 293463, tzinfo=UTC)


@given(name=st.text(), size=st.integers(min_value=0, max_value=2**62), skipped=st.booleans())
def test_payload_is_json_that_says_the_same(name: str, size: int, skipped: bool) -> None:
    event = make_event(file_name=name, size_bytes=size, skipped=skipped)
    info = json.loads(event.payload())["Data"]["Info"]
    assert info.get("file_name", "") == name
    assert (info["size_bytes"], info["skipped"]) == (size, skipped)
    assert "\n" not in event.payload()


@given(
    action=st.sampled_from(Action),
    org_id=st.uuids(),
    timestamp_ns=st.integers(min_value=0, max_value=2**63 - 1),
    size=st.integers(min_value=0, max_value=2**63 - 1),
    name=st.text(),
    backend=st.text(),
)
def test_every_value_can_be_read_from_the_payload(
    action: Action, org_id: uuid.UUID, timestamp_ns: int, size: int, name: str, backend: str
) -> None:
    event = make_event(
        action=action, org_id=org_id, timestamp_ns=timestamp_ns, size_bytes=size, file_name=name, backend=backend
    )
    payload = json.loads(event.payload())
    data, info = payload["Data"], payload["Data"]["Info"]
    assert (data["ActionType"], data["OrgID"]) == (action, str(org_id))
    assert (info["digest"], info["size_bytes"]) == (event.digest, size)
    assert (info.get("file_name", ""), info.get("backend_type", "")) == (name, backend)
    assert ("skipped" in info) == (action is Action.UPLOADED)
    assert nanoseconds_of(payload["Timestamp"]) == timestamp_ns


def nanoseconds_of(timestamp: str) -> int:
    whole, _, fraction = timestamp.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{whole}+00:00").timestamp()) * 10**9 + int(fraction.ljust(9, "0"))


@given(st.text(st.characters()))
def test_no_text_gets_past_the_escapes(text: str) -> None:
    written = go_json(text)
    assert not set("<>&\u2028\u2029") & set(written)
    assert not any(ord(char) < 0x20 for char in written)
    assert json.loads(written.encode()) == re.sub("[\ud800-\udfff]", "\ufffd", text)


def digest_in(payload: str) -> str:
    return str(json.loads(payload)["Data"]["Digest"])


def test_entry_digest_is_of_what_happened_and_not_of_when_or_where() -> None:
    digest = digest_in(make_event(digest=HEX).payload())
    assert digest_in(make_event(digest=HEX, timestamp_ns=0, location="elsewhere").payload()) == digest
    for change in ({"action": Action.DOWNLOADED}, {"org_id": uuid.uuid4()}, {"size_bytes": 8}, {"skipped": True}):
        assert digest_in(make_event(digest=HEX, **change).payload()) != digest


@pytest.mark.parametrize(
    ("action", "is_skipped", "kind"),
    [
        (Action.UPLOADED, False, "uploaded"),
        ("CASArtifactUploaded", 1, "deduplicated"),
        (Action.DOWNLOADED, False, "downloaded"),
        (Action.DOWNLOADED, True, "downloaded"),
        ("CASTrailCheckpointed", False, ""),
    ],
)
def test_kind_of_a_transfer(action: str, is_skipped: object, kind: str) -> None:
    assert kind_of(action, is_skipped=is_skipped) == kind
