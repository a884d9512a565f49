"""Live events: what has arrived since, whenever it occurred, and no more than a page bears."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from audit.admin import live
from audit.events import Action
from audit.models import AuditEvent, Organization, OrganizationLimit, State
from tests.factories import ORGANIZATION, make_event, make_row

pytestmark = pytest.mark.django_db

PAGE = reverse("admin:audit_auditevent_live")
EVENTS = reverse("admin:audit_auditevent_live_events")
OTHER = uuid.UUID("2d6b4a3e-0c2f-4f0e-9f39-3a4f1f6f0b11")


@pytest.fixture
def user() -> User:
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_auditevent"))
    return user


@pytest.fixture
def viewer(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def ask(client: Client, after: int = 0, **query: str) -> Any:
    answer = client.get(EVENTS, {"after": str(after), **query})
    assert answer.status_code == 200
    return answer.json()


def ids(answer: Any) -> list[int]:
    return [row["id"] for row in answer["rows"]]


def late(minutes: int, **values: Any) -> AuditEvent:
    """A row that arrives now of what occurred then."""
    then = timezone.now() - timedelta(minutes=minutes)
    return make_row(State.LOCAL, timestamp_ns=int(then.timestamp() * 1e9), **values)


def test_new_events_come_newest_arrival_first(viewer: Client) -> None:
    first, second, third = make_row(), make_row(), late(600)
    answer = ask(viewer)
    assert ids(answer) == [third.pk, second.pk, first.pk]
    assert answer["newest"] == third.pk
    assert not answer["is_cut"]


def test_only_what_came_after_is_told(viewer: Client) -> None:
    make_row()
    known = make_row()
    assert ids(ask(viewer, known.pk)) == []
    new = late(60)
    assert ids(ask(viewer, known.pk)) == [new.pk]


def test_what_is_committed_after_a_greater_id_is_found_when_it_is_asked_for_again(viewer: Client) -> None:
    base = make_row().pk
    AuditEvent(pk=base + 2, **values_of()).save()
    assert ids(ask(viewer, base)) == [base + 2]
    AuditEvent(pk=base + 1, **values_of()).save()
    assert ids(ask(viewer, base)) == [base + 2, base + 1]


def values_of() -> dict[str, Any]:
    row = AuditEvent.of(make_event(), State.LOCAL)
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields if not field.primary_key}


def test_an_answer_is_bounded_and_says_so(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST", 3)
    rows = [make_row() for _ in range(5)]
    answer = ask(viewer)
    assert ids(answer) == [row.pk for row in rows[:1:-1]]
    assert answer["is_cut"]
    assert not ask(viewer, rows[1].pk)["is_cut"]


def test_no_more_than_the_newest_are_looked_at(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LOOKED_AT", 3)
    wanted = make_row(file_name="wanted.txt")
    others = [make_row() for _ in range(3)]
    answer = ask(viewer, wanted.pk - 1 or 1, q="wanted.txt")
    assert ids(answer) == []
    assert ids(ask(viewer)) == [row.pk for row in reversed(others)]
    with CaptureQueriesContext(
        connection,
    ) as queries:
        ask(viewer, 1, organization=str(ORGANIZATION))
    [read] = [query["sql"] for query in queries if "payload" in query["sql"]]
    assert "CASE WHEN" in read


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"q": "one"}, ["one.txt"]),
        ({"action": "downloaded"}, ["two.txt"]),
        ({"organization": str(OTHER)}, ["three.txt"]),
        ({"state": "failed"}, ["one.txt"]),
        ({"state": "failed", "action": "downloaded"}, []),
        ({"state": "no such state"}, []),
    ],
)
def test_the_filters_are_those_of_the_list(viewer: Client, query: dict[str, str], names: list[str]) -> None:
    make_row(State.FAILED, file_name="one.txt")
    make_row(action=Action.DOWNLOADED, file_name="two.txt")
    make_row(org_id=OTHER, file_name="three.txt")
    html = "".join(row["html"] for row in ask(viewer, 0, **query)["rows"])
    assert [name for name in ("one.txt", "two.txt", "three.txt") if name in html] == names


def test_a_limited_user_gets_their_own_alone(viewer: Client, user: User) -> None:
    limit = OrganizationLimit.objects.create(user=user)
    limit.organizations.set([Organization.objects.create(pk=ORGANIZATION, display_name="Ours")])
    ours = make_row()
    make_row(org_id=OTHER, file_name="theirs.txt")
    make_row(org_id=None)
    answer = ask(viewer)
    assert ids(answer) == [ours.pk]
    assert "Ours" in answer["rows"][0]["html"]
    page = viewer.get(PAGE).content.decode()
    assert "content.txt" in page
    assert "theirs.txt" not in page
    assert ids(ask(viewer, organization=str(OTHER))) == []


def test_names_are_shown_and_never_run(viewer: Client) -> None:
    make_row(file_name="<img src=x onerror=alert(1)>\u202egpj")
    html = ask(viewer)["rows"][0]["html"]
    assert "<img" not in html
    assert r"&lt;img src=x onerror=alert(1)&gt;\u202egpj" in html
    page = viewer.get(PAGE, {"q": "<b>x\u202e"}).content.decode()
    assert "<b>x" not in page
    assert r"&lt;b&gt;x\u202e" in page


def test_the_page_has_the_newest_for_whoever_has_no_script(viewer: Client) -> None:
    row = make_row()
    answer = viewer.get(PAGE)
    assert f'data-id="{row.pk}"' in answer.content.decode()
    assert f'data-newest="{row.pk}"' in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]


def test_an_empty_trail_is_no_error(viewer: Client) -> None:
    assert ask(viewer) == {"rows": [], "newest": 0, "is_cut": False}
    assert viewer.get(PAGE).status_code == 200


@pytest.mark.parametrize("after", ["", "-1", "x", "1" * 19, "٣"])
def test_a_place_that_is_none_is_refused(viewer: Client, after: str) -> None:
    assert viewer.get(EVENTS, {"after": after}).status_code == 400


def test_an_answer_costs_the_same_however_many_come(viewer: Client, django_assert_max_num_queries: Any) -> None:
    for _ in range(30):
        make_row()
    with django_assert_max_num_queries(10):  # session, user, second factor, permissions, limit, newest, events, names
        ask(viewer)


def test_others_are_refused(client: Client) -> None:
    client.force_login(User.objects.create_user("nobody", is_staff=True))
    assert client.get(EVENTS, {"after": 0}).status_code == 403
    assert client.get(PAGE).status_code == 403


def test_nothing_is_done_by_post(viewer: Client) -> None:
    assert viewer.post(EVENTS).status_code == 405
    assert viewer.post(PAGE).status_code == 405
