"""The list of events: what it finds, how it pages, and what can be done with all it finds."""

import csv
import io
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from audit import api_pages, export
from audit.admin import event_acts, event_list
from audit.api_pages import Effort
from audit.events import Action
from audit.models import AuditEvent, Organization, OrganizationLimit, State
from tests.factories import ORGANIZATION, digest_of, make_row

pytestmark = pytest.mark.django_db

LIST = reverse("admin:audit_auditevent_changelist")
MATCHING = reverse("admin:audit_auditevent_matching")
COLUMNS = reverse("admin:audit_auditevent_columns")
OTHER = uuid.UUID("2f1c4e46-9b1f-4a1c-9d3e-111111111111")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

LogIn = Callable[..., Client]


@pytest.fixture
def log_in() -> LogIn:
    """A client of staff with these permissions of audit events."""

    def enter(*permissions: str, sees: list[uuid.UUID] | None = None) -> Client:
        user = User.objects.create_user(f"user{User.objects.count()}", is_staff=True)
        for name in ("view", *permissions):
            user.user_permissions.add(Permission.objects.get(codename=f"{name}_auditevent"))
        if sees is not None:
            limit = OrganizationLimit.objects.create(user=user)
            limit.organizations.set([Organization.objects.get_or_create(pk=each)[0] for each in sees])
        client = Client()
        client.force_login(user)
        return client

    return enter


@pytest.fixture
def viewer(log_in: LogIn) -> Client:
    return log_in()


def page(client: Client, query: str | dict[str, str] = "") -> Any:
    """The list, as ChangeList has it."""
    answer = client.get(f"{LIST}{query}") if isinstance(query, str) else client.get(LIST, query)
    assert answer.status_code == 200
    return answer.context["cl"]


def shown(client: Client, **query: str) -> list[AuditEvent]:
    return list(page(client, query).result_list)


def at(minutes: int, **values: Any) -> AuditEvent:
    time = NOON + timedelta(minutes=minutes)
    return make_row(timestamp_ns=int(time.timestamp()) * 1_000_000_000, **values)


def transfers() -> "Any":
    """Events that are no acts."""
    return AuditEvent.objects.filter(action__in=list(Action))


# Filters


@pytest.fixture
def mixture() -> dict[str, AuditEvent]:
    Organization.objects.create(pk=ORGANIZATION, display_name="Acme Rockets")
    Organization.objects.create(pk=OTHER, display_name="Bolt Works")
    return {
        "small": at(0, size_bytes=10, file_name="small.txt", digest=digest_of(b"small").hex),
        "large": at(1, size_bytes=10**9, file_name="large.bin", digest=digest_of(b"large").hex, location="archive"),
        "other": at(2, org_id=OTHER, file_name="theirs.txt", digest=digest_of(b"other").hex),
        "again": at(3, skipped=True, file_name="again.txt", digest=digest_of(b"again").hex),
        "fetch": at(4, action=Action.DOWNLOADED, file_name="fetch.txt", digest=digest_of(b"fetch").hex),
    }


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"organization": str(OTHER)}, ["other"]),
        ({"organization": "bolt works"}, ["other"]),
        ({"organization": "bolt"}, ["other"]),
        ({"organization": "nobody"}, []),
        ({"action": "deduplicated"}, ["again"]),
        ({"action": "downloaded"}, ["fetch"]),
        ({"skipped": "false", "action": "uploaded"}, ["other", "large", "small"]),
        ({"location": "archive"}, ["large"]),
        ({"min_size": "1MB"}, ["large"]),
        ({"min_size": "954 MiB", "action": "uploaded"}, []),
        ({"min_size": "953.6 MiB"}, ["large"]),
        ({"max_size": "10", "file_name": "SMALL"}, ["small"]),
        ({"from": "2026-03-01 12:02", "to": "2026-03-01 12:04"}, ["again", "other"]),
        ({"digest": digest_of(b"fetch").hex[:9]}, ["fetch"]),
        ({"state": "failed"}, []),
        ({"q": "bolt"}, ["other"]),
        ({"q": str(OTHER)}, ["other"]),
        ({"q": "theirs"}, ["other"]),
        ({"q": "acme", "action": "downloaded"}, ["fetch"]),
        ({"organization": "acme", "q": "large", "min_size": "1", "to": "2026-03-02"}, ["large"]),
        ({"organization": "acme", "q": str(OTHER)}, []),
    ],
)
def test_filters_combine(
    viewer: Client, mixture: dict[str, AuditEvent], query: dict[str, str], names: list[str]
) -> None:
    assert shown(viewer, **query) == [mixture[name] for name in names]


@pytest.mark.parametrize("text", ['"', "'", '"tis', "'tis", '"a"b', "'a\"", '"a" \''])
def test_quotes_that_enclose_no_words_are_searched_for(viewer: Client, text: str) -> None:
    at(0, file_name="plain a b.txt")
    named = at(1, file_name=f"a {text} b.txt")
    assert shown(viewer, q=text) == [named]


def test_words_in_quotes_are_one(viewer: Client) -> None:
    named = at(0, file_name="a b.txt")
    at(1, file_name="b a.txt")
    assert shown(viewer, q='"a b"') == shown(viewer, q="'a b'") == [named]


def test_an_event_is_found_by_its_id(viewer: Client, mixture: dict[str, AuditEvent]) -> None:
    assert shown(viewer, q=str(mixture["again"].event_id)) == [mixture["again"]]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"from": "yesterday"}, "Not a time such as"),
        ({"min_size": "big"}, "Not a size such as"),
        ({"from": "2026-03-02", "to": "2026-03-01"}, "It must be later than from."),
        ({"period": "7d", "from": "2026-03-02"}, "Either a period, or from and until."),
        ({"digest": "zz"}, "Not a digest"),
        ({"action": "uplaoded"}, "Not one of"),
        ({"state": "lost"}, "Select a valid choice"),
    ],
)
def test_what_cannot_be_asked_is_said_at_its_field(viewer: Client, query: dict[str, str], message: str) -> None:
    at(0)
    answer = viewer.get(LIST, query)
    assert message in answer.content.decode()
    assert answer.context["cl"].result_list == []


def test_a_filter_stays_in_its_field(viewer: Client) -> None:
    content = viewer.get(LIST, {"file_name": '"><b>'}).content.decode()
    assert 'value="&quot;&gt;&lt;b&gt;"' in content


def test_names_of_organizations_are_shown(viewer: Client, mixture: dict[str, AuditEvent]) -> None:
    assert ">Bolt Works</bdi>" in viewer.get(LIST).content.decode()


# Pages


@pytest.fixture
def many() -> list[AuditEvent]:
    """Newest first; two share each moment."""
    rows = [at(number // 2) for number in range(130)]
    return sorted(rows, key=lambda row: (row.occurred_at, row.pk), reverse=True)


def test_pages_lead_back_and_forth(viewer: Client, many: list[AuditEvent]) -> None:
    first = page(viewer)
    assert first.result_list == many[:50]
    assert (first.newest_link, first.newer_link) == ("", "")
    second = page(viewer, first.older_link)
    assert second.result_list == many[50:100]
    third = page(viewer, second.older_link)
    assert third.result_list == many[100:]
    assert third.older_link == ""
    assert page(viewer, third.newer_link).result_list == many[50:100]
    assert page(viewer, second.newer_link).result_list == many[:50]
    assert page(viewer, third.newest_link).result_list == many[:50]


def test_the_way_up_ends_with_a_full_page(viewer: Client, many: list[AuditEvent]) -> None:
    second = page(viewer, page(viewer, {"rows": "100"}).older_link)
    assert second.result_list == many[100:]
    assert page(viewer, second.newer_link).result_list == many[:100]


def test_nothing_is_missed_or_doubled_when_events_come_in_meanwhile(viewer: Client, many: list[AuditEvent]) -> None:
    first = page(viewer)
    at(1000)
    assert page(viewer, first.older_link).result_list == many[50:100]


def test_links_keep_filters(viewer: Client, many: list[AuditEvent]) -> None:
    assert "action=uploaded" in page(viewer, {"action": "uploaded"}).older_link


@pytest.mark.parametrize("cursor", ["x", "W10", "WyJhIiwxXQ", "é" * 20])
def test_a_place_that_nobody_was_given_is_the_newest(viewer: Client, many: list[AuditEvent], cursor: str) -> None:
    assert page(viewer, {"older": cursor}).result_list == many[:50]
    assert page(viewer, {"newer": cursor}).result_list == many[:50]


def test_a_search_looks_at_so_many_events_and_can_go_on(
    viewer: Client, many: list[AuditEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    needle = at(-10, file_name="needle")
    monkeypatch.setattr(event_list, "EFFORT", Effort(events=40, step=20))
    found = page(viewer, {"q": "needle"})
    assert found.result_list == []
    assert found.looked_back_to == many[39].occurred_at
    answer = viewer.get(LIST, {"q": "needle"}).content.decode()
    assert "None so far." in answer
    assert "Look further back" in answer
    assert "look-further.js" in answer
    for _ in range(3):
        found = page(viewer, found.older_link)
    assert found.result_list == [needle]
    assert "look-further.js" not in viewer.get(LIST).content.decode()


def test_nothing_is_counted(viewer: Client, many: list[AuditEvent]) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        viewer.get(LIST)
    assert not [each for each in queries.captured_queries if "COUNT(" in each["sql"] and "auditevent" in each["sql"]]
    assert len(queries) < 12


# Columns


def test_columns_are_the_users_own(log_in: LogIn) -> None:
    one, other = log_in(), log_in()
    at(0)
    answer = one.post(f"{COLUMNS}?state=local", {"column": ["place", "badge", "nonsense"]})
    assert answer["Location"] == f"{LIST}?state=local"
    assert page(one).list_display == ["action_checkbox", "time", "place", "badge"][-3:]
    assert "organization" in page(other).list_display
    one.post(COLUMNS, {})
    assert "organization" in page(one).list_display


# All that match


def exported(client: Client, form: str, query: str = "") -> str:
    answer = client.post(f"{MATCHING}{query}", {"act": form})
    assert answer.status_code == 200
    assert "attachment" in answer["Content-Disposition"]
    return b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]


def test_export_holds_what_the_filters_show_oldest_first(log_in: LogIn, mixture: dict[str, AuditEvent]) -> None:
    auditor = log_in("export")
    lines = exported(auditor, "jsonl", "?organization=acme&action=uploaded").splitlines()
    assert [json.loads(line)["file_name"] for line in lines] == ["small.txt", "large.bin"]
    rows = list(csv.DictReader(io.StringIO(exported(auditor, "csv", "?action=downloaded"))))
    assert [row["file_name"] for row in rows] == ["fetch.txt"]


def test_export_runs_in_no_spreadsheet(log_in: LogIn) -> None:
    at(0, file_name="=1+1")
    assert ",'=1+1," in exported(log_in("export"), "csv")


def test_export_is_in_the_trail(log_in: LogIn, mixture: dict[str, AuditEvent]) -> None:
    exported(log_in("export"), "csv", "?action=downloaded")
    info = json.loads(AuditEvent.objects.get(action="CASAuditEventsExported").payload)["Data"]["Info"]
    assert (info["which"], info["format"]) == ("action=downloaded", "csv")


@pytest.mark.parametrize(
    ("form", "last"),
    [
        ("csv", "INCOMPLETE: the server failed before the end of this file"),
        ("jsonl", '{"error":"INCOMPLETE: the server failed before the end of this file"}'),
    ],
)
def test_export_that_breaks_off_says_so(
    log_in: LogIn, mixture: dict[str, AuditEvent], monkeypatch: pytest.MonkeyPatch, form: str, last: str
) -> None:
    monkeypatch.setattr(export, "BATCH", 2)
    pages = iter([api_pages.read_page])

    def fail_at_the_second(*args: Any, **options: Any) -> Any:
        read = next(pages, None)
        if read is None:
            raise OperationalError("the database is gone")
        return read(*args, **options)

    monkeypatch.setattr(api_pages, "read_page", fail_at_the_second)
    sent: list[bytes] = []
    with pytest.raises(OperationalError):
        sent.extend(log_in("export").post(MATCHING, {"act": form}).streaming_content)  # type: ignore[attr-defined]
    lines = b"".join(sent).decode().splitlines()
    assert lines[-1] == last
    assert len(lines) == 3 + (form == "csv")
    assert "small.txt" in lines[-3]


def test_the_count_comes_before(log_in: LogIn, mixture: dict[str, AuditEvent], monkeypatch: pytest.MonkeyPatch) -> None:
    auditor = log_in("export")
    assert "<strong>4</strong> events match" in auditor.get(MATCHING, {"organization": "acme"}).content.decode()
    monkeypatch.setattr(event_acts, "_BATCH", 2)
    monkeypatch.setattr(event_acts.count, "__defaults__", (-1.0,))
    assert "At least 2</strong>" in auditor.get(MATCHING).content.decode()


@pytest.mark.parametrize("act", ["csv", "jsonl", "retry", "replay", "nonsense"])
def test_each_act_needs_its_permission(log_in: LogIn, act: str) -> None:
    row = make_row(State.FAILED)
    assert log_in().post(MATCHING, {"act": act}).status_code == 403
    others = {"csv": "retry", "jsonl": "retry", "retry": "export", "replay": "export", "nonsense": "export"}
    assert log_in(others[act]).post(MATCHING, {"act": act}).status_code == 403
    row.refresh_from_db()
    assert row.state == State.FAILED


def test_all_that_failed_and_match_are_retried(log_in: LogIn) -> None:
    wanted = [make_row(State.FAILED) for _ in range(3)]
    make_row(State.FAILED, org_id=OTHER)
    make_row(State.PUBLISHED)
    answer = log_in("retry").post(f"{MATCHING}?organization={ORGANIZATION}", {"act": "retry"}, follow=True)
    assert [str(each) for each in answer.context["messages"]] == ["Events that are pending again: 3."]
    assert set(transfers().filter(state="pending")) == set(wanted)
    assert AuditEvent.objects.filter(action="CASAuditEventsRetried").count() == 1


@pytest.mark.parametrize("action", ["retry_failed", "replay"])
def test_an_action_of_chosen_events_reaches_no_others(log_in: LogIn, action: str) -> None:
    state = State.FAILED if action == "retry_failed" else State.PUBLISHED
    chosen, _ = make_row(state), make_row(state)
    data = {"action": action, "_selected_action": [chosen.pk], "select_across": "1", "sure": "yes"}
    log_in("retry", "replay").post(LIST, data)
    assert list(transfers().filter(state="pending")) == [chosen]


@pytest.mark.parametrize("address", [LIST, MATCHING])
def test_replay_asks_first(log_in: LogIn, address: str) -> None:
    rows = [make_row(state) for state in (State.PUBLISHED, State.LOCAL, State.MIRRORED)]
    client, data = log_in("replay"), {"action": "replay", "act": "replay", "_selected_action": [row.pk for row in rows]}
    asked = client.post(f"{address}?organization={ORGANIZATION}", data)
    content = asked.content.decode()
    assert "<strong>2</strong> events will be published once more to the stream <strong>chainloop-audit" in content
    assert f"?organization={ORGANIZATION}" in content
    assert not transfers().filter(state="pending").exists()
    answer = {
        name: [value for key, value in asked.context["fields"] if key == name] for name, _ in asked.context["fields"]
    }
    client.post(f"{address}?organization={ORGANIZATION}", {**answer, "sure": "yes"})
    assert transfers().filter(state="pending").count() == 2


def test_replay_does_not_ask_about_nothing(log_in: LogIn) -> None:
    make_row(State.MIRRORED)
    content = log_in("replay").post(MATCHING, {"act": "replay"}).content.decode()
    assert "there is nothing to do" in content
    assert "Yes, publish again" not in content


def test_replay_asks_of_more_than_are_soon_counted(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        make_row(State.PUBLISHED)
    monkeypatch.setattr(event_acts, "_BATCH", 2)
    monkeypatch.setattr(event_acts.count, "__defaults__", (-1.0,))
    content = log_in("replay").post(MATCHING, {"act": "replay"}).content.decode()
    assert "<strong>At least 2</strong> events will be" in content


def test_replay_is_of_what_we_published(log_in: LogIn) -> None:
    rows = {state: make_row(state) for state in State}
    log_in("replay").post(MATCHING, {"act": "replay", "sure": "yes"})
    states = {state: transfers().get(pk=row.pk).state for state, row in rows.items()}
    assert states == {
        State.PENDING: "pending",
        State.PUBLISHED: "pending",
        State.FAILED: "failed",
        State.LOCAL: "pending",
        State.MIRRORED: "mirrored",
    }
    assert AuditEvent.objects.filter(action="CASAuditEventsReplayed").count() == 1


def test_what_takes_too_long_is_done_in_part(log_in: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        make_row(State.FAILED)
    monkeypatch.setattr(event_acts, "_BATCH", 2)
    monkeypatch.setattr(event_acts.retry, "__defaults__", (-1.0,))
    answer = log_in("retry").post(MATCHING, {"act": "retry"}, follow=True)
    assert "There are more than one request can do: do it again." in [str(m) for m in answer.context["messages"]]
    assert transfers().filter(state="pending").count() == 2


# Who is limited to organizations


def test_a_limited_viewer_sees_theirs_alone(log_in: LogIn, mixture: dict[str, AuditEvent]) -> None:
    theirs = log_in("export", "retry", sees=[OTHER])
    assert shown(theirs) == [mixture["other"]]
    assert shown(theirs, organization=str(ORGANIZATION)) == []
    assert shown(theirs, organization="acme") == []
    assert shown(theirs, q="small") == []
    assert shown(theirs, q=str(mixture["small"].event_id)) == []
    assert "Acme" not in theirs.get(LIST).content.decode()
    detail = reverse("admin:audit_auditevent_change", args=[mixture["small"].pk])
    assert theirs.get(detail).status_code == 302
    assert len(exported(theirs, "jsonl").splitlines()) == 1
    failed = make_row(State.FAILED)
    theirs.post(LIST, {"action": "retry_failed", "_selected_action": [failed.pk]})
    theirs.post(MATCHING, {"act": "retry"})
    failed.refresh_from_db()
    assert failed.state == State.FAILED


def test_a_search_does_not_tell_a_limited_viewer_what_others_have(
    log_in: LogIn, viewer: Client, mixture: dict[str, AuditEvent]
) -> None:
    theirs, digits = log_in(sees=[OTHER]), mixture["small"].digest[:12]
    named = at(5, org_id=OTHER, file_name=f"{digits}.txt", digest=digest_of(b"named").hex)
    assert shown(theirs, q=digits) == [named], "as it would be if nobody had such an artifact"
    assert shown(viewer, q=digits) == [mixture["small"]]
    same = at(6, org_id=OTHER, file_name="same.txt", digest=mixture["small"].digest)
    assert shown(theirs, q=digits) == [same]


def test_who_is_limited_to_none_sees_nothing(log_in: LogIn, mixture: dict[str, AuditEvent]) -> None:
    assert shown(log_in(sees=[])) == []


def test_what_is_not_there_and_what_is_not_theirs_are_told_alike(log_in: LogIn, mixture: dict[str, AuditEvent]) -> None:
    theirs = log_in(sees=[OTHER])
    for number in (mixture["small"].pk, 99999999):
        path = reverse("admin:audit_auditevent_change", args=[number])
        answer = theirs.get(path, follow=True)
        assert answer.redirect_chain == [(LIST, 302)]
        (message,) = answer.context["messages"]
        assert str(message) == f"Event {number} is not in the trail, or not yours to see."


def test_an_act_is_told_in_words(viewer: Client, log_in: LogIn) -> None:
    at(0)
    exported(log_in("export"), "csv")
    assert ">user1 exported audit events</bdi>" in viewer.get(LIST).content.decode()


def test_the_effort_of_a_page_is_bounded() -> None:
    assert event_list.EFFORT.events <= api_pages.LOOKED_AT
    assert event_list.EFFORT.seconds < 0.2
