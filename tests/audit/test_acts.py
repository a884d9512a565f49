"""What people do in the admin is in the trail, in the envelope of every audit event."""

import json
import logging
import uuid
from pathlib import Path
from typing import Any, NoReturn

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.db import OperationalError, transaction
from django.test import RequestFactory
from pytest_django import Settings

from audit import journal, keeping, sealing
from audit.act_events import Actor, act_event, words_of
from audit.acts import Act, Target, address_of, describe, record
from audit.models import AuditEvent
from tests.factories import ORGANIZATION, make_row

pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> User:
    return User.objects.create_user("ann", "ann@example.org", first_name="Ann")


def request_of(user: Any, **environ: str) -> Any:
    request = RequestFactory(REMOTE_ADDR="192.0.2.7").get("/admin/", **environ)  # type: ignore[arg-type]
    request.user = user
    return request


def only_event() -> tuple[AuditEvent, dict[str, Any]]:
    row = AuditEvent.objects.get()
    message = json.loads(row.payload)
    assert message["EventType"] == "AUDIT_EVENT"
    assert list(message) == ["EventType", "Timestamp", "Data"]
    data: dict[str, Any] = message["Data"]
    return row, data


def test_an_act_has_the_envelope_actor_and_target_of_audit_events(user: User) -> None:
    group = Group.objects.create(name="night shift")
    record(request_of(user), Act.CHANGED, group, fields=["name"])
    row, data = only_event()
    digest = data.pop("Digest")
    assert digest.startswith("sha256:")
    assert data == {
        "ActionType": "CASGroupChanged",
        "TargetType": "CASGroup",
        "TargetID": None,
        "ActorType": "USER",
        "ActorID": None,
        "ActorEmail": "ann@example.org",
        "ActorName": "ann",
        "OrgID": None,
        "Description": "ann changed group night shift",
        "Info": {
            "target_key": str(group.pk),
            "target_name": "night shift",
            "actor_key": str(user.pk),
            "address": "192.0.2.7",
            "fields": ["name"],
        },
    }
    assert (row.action, row.subject) == ("CASGroupChanged", "audit.casgroup.casgroupchanged")
    assert (row.org_id, row.digest, row.size_bytes, row.file_name) == (None, "", 0, "")


def test_an_act_upon_many_things_names_their_kind(user: User) -> None:
    record(request_of(user), Act.EXPORTED, "events", format="csv", count=3, org_id=ORGANIZATION)
    row, data = only_event()
    assert data["ActionType"] == "CASEventsExported"
    assert (row.org_id, data["OrgID"]) == (ORGANIZATION, str(ORGANIZATION))
    assert data["Description"] == "ann exported events"
    assert (data["Info"]["format"], data["Info"]["count"]) == ("csv", 3)


def test_nobody_known_is_the_actor_of_a_failed_sign_in() -> None:
    record(request_of(AnonymousUser()), Act.SIGN_IN_FAILED, Target("User", name="root"))
    row, data = only_event()
    assert (data["ActorType"], data["ActorName"], data["Info"]["target_name"]) == ("SYSTEM", "", "root")
    description = describe(row)
    assert description
    assert (description.who, description.what) == ("", "sign-in failed: root")


def test_long_texts_and_lists_are_cut(user: User) -> None:
    record(request_of(user), Act.SIGN_IN_FAILED, Target("User", name="x" * 100_000), many=list(range(1000)))
    row, data = only_event()
    assert data["Info"]["target_name"] == "x" * 500 + "…"
    assert len(data["Info"]["many"]) == 50
    assert len(row.payload) < 3000


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "<script>", "\u202eevil", "{}'\"\\"])
def test_any_characters_of_a_name_can_be_kept(user: User, name: str) -> None:
    record(request_of(user), Act.SIGN_IN_FAILED, Target("User", name=name))
    _, data = only_event()
    assert data["Info"]["target_name"] == name.replace("\ud800", "\ufffd")


def test_details_of_any_type_are_kept_as_text(user: User) -> None:
    record(request_of(user), Act.CHANGED, user, when=Path("x"), deep={"a": {"b": {"c": {"d": 1}}}})
    _, data = only_event()
    assert data["Info"]["when"] == "x"
    assert "'d': 1" in data["Info"]["deep"]["a"]["b"]["c"]


@pytest.mark.parametrize(("url", "state"), [("", "local"), ("nats://127.0.0.1:1", "pending")])
def test_acts_are_published_where_transfers_are(user: User, settings: Settings, url: str, state: str) -> None:
    settings.NATS_URL = url
    record(request_of(user), Act.SIGNED_OUT, user)
    assert AuditEvent.objects.get().state == state


def test_acts_are_sealed_and_not_counted_as_usage(user: User) -> None:
    record(request_of(user), Act.SIGNED_OUT, user, org_id=ORGANIZATION)
    assert sealing.seal() == 1
    assert AuditEvent.objects.get().position == 1


def test_an_act_of_a_transaction_that_is_rolled_back_did_not_happen(user: User) -> None:
    def fail() -> NoReturn:
        with transaction.atomic():
            record(request_of(user), Act.CHANGED, user)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not AuditEvent.objects.exists()


def test_what_the_database_does_not_take_waits_in_the_journal(
    user: User,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
) -> None:
    settings.CAS_DATA_DIR = tmp_path

    def refuse(rows: object) -> NoReturn:
        raise OperationalError

    with monkeypatch.context() as patch:
        patch.setattr(keeping, "insertion", lambda: refuse)
        with django_capture_on_commit_callbacks(execute=True):
            record(request_of(user), Act.CHANGED, user, org_id=ORGANIZATION)
    assert not AuditEvent.objects.exists()
    assert journal.take_in() == 1
    row, data = only_event()
    assert (data["ActionType"], row.org_id) == ("CASUserChanged", ORGANIZATION)
    assert journal.pending() == []


def test_an_act_without_an_organization_comes_out_of_the_journal_as_it_went_in(
    settings: Settings, tmp_path: Path
) -> None:
    settings.CAS_DATA_DIR = tmp_path
    event = act_event(uuid.uuid4(), 1_795_509_390_000_000_001, Act.CHANGED, Target("User"), Actor(), None, {})
    journal.append(event)
    assert journal.take_in() == 1
    row = AuditEvent.objects.get()
    assert (row.event_id, row.org_id, row.payload) == (event.event_id, None, event.text)


def test_an_act_is_no_transfer_that_a_write_ahead_log_could_hold() -> None:
    event = act_event(uuid.uuid4(), 1, Act.CHANGED, Target("User"), Actor(), None, {})
    with pytest.raises(journal.NoEventError):
        journal.event_of(journal.json_of(event).encode())


def test_recording_never_fails_the_act(user: User, caplog: pytest.LogCaptureFixture) -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    with caplog.at_level(logging.CRITICAL):
        record(request_of(user), Act.CHANGED, user, value=Unprintable())
    assert "not in the trail: Changed" in caplog.text
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize(
    ("is_behind_proxy", "forwarded", "address"),
    [
        (False, "203.0.113.9", "192.0.2.7"),
        (True, "203.0.113.9", "203.0.113.9"),
        (True, "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (True, "203.0.113.9, <script>", ""),
        (True, None, "192.0.2.7"),
    ],
)
def test_only_a_proxy_may_name_another_address(
    settings: Settings, is_behind_proxy: bool, forwarded: str | None, address: str
) -> None:
    settings.CAS_BEHIND_PROXY = is_behind_proxy
    headers = {} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded}
    assert address_of(request_of(AnonymousUser(), **headers)) == address


@pytest.mark.parametrize("act", Act)
def test_every_act_is_described(user: User, act: Act) -> None:
    record(request_of(user), act, user)
    description = describe(AuditEvent.objects.get())
    assert description
    assert description.who == "ann"
    assert description.what.startswith(words_of(act, "", ""))


def test_what_is_no_act_is_not_described() -> None:
    assert describe(make_row()) is None


@pytest.mark.parametrize(
    "payload", ["", "[]", "{}", '{"Data":[]}', '{"Data":{"TargetType":1,"Info":3,"ActorName":""}}']
)
def test_what_only_looks_like_an_act_is_not_described(payload: str) -> None:
    row = make_row()
    row.action, row.payload = "CASUserSignedIn", payload
    assert describe(row) is None
