"""Organizations in the admin: their list, pages and files, for those who see all of it and those who see a part."""

import csv
import io
import json
import re
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from audit import organization_events, organization_ranking
from audit.events import Action
from audit.models import AuditEvent, Organization, OrganizationLimit, State
from tests.audit.trails import old_ns, seal_all
from tests.factories import digest_of, make_event, make_row

pytestmark = pytest.mark.django_db

BIG, SMALL, IDLE = (uuid.UUID(f"{char * 8}-0000-4000-8000-000000000000") for char in "abc")
LIST = reverse("admin:audit_organization_changelist")
ALL_USAGE = reverse("admin:audit_organization_usage_of_all")
EVERYTHING = ("view_organization", "change_organization", "view_usagetotal", "export_usagetotal", "view_auditevent")
HOSTILE = "<script>x</script>\u202egpj"


def page_of(organization: uuid.UUID, name: str = "change") -> str:
    return reverse(f"admin:audit_organization_{name}", args=[organization])


def client_of(*codenames: str, limited_to: list[uuid.UUID] | None = None, **values: Any) -> Client:
    """Staff with these permissions, and a limit unless it is None."""
    user = User.objects.create_user(f"user-{User.objects.count()}", is_staff=True, **values)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames, content_type__app_label="audit"))
    if limited_to is not None:
        OrganizationLimit.objects.create(user=user).organizations.set(Organization.objects.filter(pk__in=limited_to))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def everyone() -> Client:
    """May do all that there is to do with organizations."""
    return client_of(*EVERYTHING)


@pytest.fixture(autouse=True)
def _usage() -> None:
    Organization.objects.create(org_id=IDLE, display_name="Idle")
    Organization.objects.create(org_id=SMALL, display_name="Small & Sons")
    for _ in range(3):
        make_row(State.LOCAL, org_id=SMALL, size_bytes=10, location="near")
    make_row(State.LOCAL, org_id=BIG, size_bytes=5000, location="far")
    make_row(State.LOCAL, org_id=BIG, size_bytes=3000, action=Action.DOWNLOADED, location="far")
    make_row(State.LOCAL, org_id=BIG, size_bytes=5000, skipped=True, location="far")
    make_row(State.LOCAL, org_id=SMALL, size_bytes=10**6, timestamp_ns=old_ns(60))
    seal_all()


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("0001-01-01", "0001-01-01"),
        ("0001-01-05", "0001-02-01"),
        ("0001-01-02", "0001-01-02"),
        ("9999-12-30", "9999-12-30"),
        ("9999-12-31", "9999-12-31"),
    ],
)
def test_no_page_fails_for_days_at_the_ends_of_the_calendar(everyone: Client, first: str, last: str) -> None:
    for address in (reverse("admin:index"), LIST, page_of(BIG)):
        assert everyone.get(address, {"first": first, "last": last}).status_code == 200
    for address in (page_of(BIG, "usage"), ALL_USAGE):
        assert everyone.get(address, {"first": first, "last": last}).status_code in {200, 400}


def listed(client: Client, **query: str) -> list[uuid.UUID]:
    answer = client.get(LIST, query)
    assert answer.status_code == 200
    return [row.pk for row in answer.context["cl"].result_list]


def csv_rows(client: Client, address: str, **query: str) -> list[dict[str, str]]:
    answer = client.get(address, query)
    assert answer.status_code == 200
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    text = answer.getvalue().decode()
    return list(csv.DictReader(io.StringIO(text)))


def acts() -> list[dict[str, Any]]:
    rows = AuditEvent.objects.filter(action__startswith="CAS").exclude(action__in=list(Action)).order_by("id")
    return [json.loads(row.payload)["Data"] for row in rows]


def test_list_has_all_organizations_those_with_the_most_first(everyone: Client) -> None:
    assert listed(everyone) == [BIG, SMALL, IDLE]
    assert listed(everyone, period="90d") == [SMALL, BIG, IDLE]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("0", [IDLE, SMALL, BIG]),  # by name; those without one last
        ("-0", [SMALL, IDLE, BIG]),
        ("1", [BIG, SMALL, IDLE]),
        ("-1", [IDLE, SMALL, BIG]),
        ("2", [BIG, SMALL, IDLE]),
        ("3", [BIG, IDLE, SMALL]),
        ("4", [BIG, IDLE, SMALL]),
        ("6", [BIG, SMALL, IDLE]),
        ("5", [BIG, SMALL, IDLE]),  # no column to order by
        ("99", [BIG, SMALL, IDLE]),
        ("x", [BIG, SMALL, IDLE]),
    ],
)
def test_list_can_be_put_in_order(everyone: Client, order: str, expected: list[uuid.UUID]) -> None:
    assert listed(everyone, o=order) == expected


def test_list_shows_usage_of_the_period(everyone: Client) -> None:
    page = everyone.get(LIST).content.decode()
    assert "7.8 KiB" in page
    assert "50.0 %" in page
    assert "977 KiB" not in page
    assert "977 KiB" in everyone.get(LIST, {"period": "90d"}).content.decode()


@pytest.mark.parametrize(("term", "found"), [("sons", [SMALL]), ("aaaa", [BIG]), (str(IDLE), [IDLE]), ("nobody", [])])
def test_list_is_searched(everyone: Client, term: str, found: list[uuid.UUID]) -> None:
    assert listed(everyone, q=term) == found


def test_pages_follow_one_another_without_gap(everyone: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    more = [Organization(org_id=uuid.uuid4(), display_name=f"n{number % 40:02}") for number in range(120)]
    more += [Organization(org_id=uuid.uuid4()) for _ in range(20)]
    Organization.objects.bulk_create(more)
    monkeypatch.setattr(organization_ranking, "MOST", 2)
    for order in ("1", "-1", "0", "-0"):
        seen = [each for number in (1, 2, 3) for each in listed(everyone, o=order, p=str(number))]
        assert len(seen) == len(set(seen)) == 143
    assert "The first 2 are in order" in everyone.get(LIST).content.decode()
    assert everyone.get(LIST, {"p": "4"}).status_code == 302


def test_period_that_is_none_is_said_and_the_rest_is_shown(everyone: Client) -> None:
    for address in (LIST, page_of(BIG)):
        page = everyone.get(address, {"first": "2026-13-01"}).content.decode()
        assert "There is no such day. Shown: last 30 days." in page


def test_page_shows_usage_locations_artifacts_and_events(everyone: Client) -> None:
    answer = everyone.get(page_of(BIG))
    page = answer.content.decode()
    assert {figure.label: figure.value for figure in answer.context["figures"]} == {
        "Uploaded": "4.9 KiB",
        "Downloaded": "2.9 KiB",
        "Saved by dedup": "4.9 KiB",
        "Dedup ratio": "50.0 %",
        "Transfers": "3",
    }
    assert "far" in page
    assert "near" not in page
    assert [row.words for row in answer.context["recent"]] == ["deduplicated", "downloaded", "uploaded"]
    (use,) = [use.usage for use in answer.context["top"].by_downloads]
    assert (use.downloads, use.uploads, use.skipped_uploads, use.moved_bytes) == (1, 1, 1, 8000)
    assert "Of all 3 events of the period." in page


def test_figures_lead_to_the_events_behind_them(everyone: Client) -> None:
    answer = everyone.get(page_of(BIG), {"first": "2026-11-01", "last": "2026-11-02"})
    url = answer.context["figures"][0].url
    assert f"organization={BIG}" in url
    assert "from=2026-11-01T00%3A00Z&to=2026-11-03T00%3A00Z&action=uploaded" in url


def test_top_artifacts_say_of_how_many_events_they_are(everyone: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(organization_events, "LOOKED_AT", 2)
    page = everyone.get(page_of(SMALL)).content.decode()
    assert "Of the last 2 events of the period; there are more." in page


def test_top_artifacts_come_in_two_orders(everyone: Client) -> None:
    often, large = digest_of(b"often").hex, digest_of(b"large").hex
    for _ in range(3):
        make_row(State.LOCAL, org_id=IDLE, digest=often, size_bytes=1, action=Action.DOWNLOADED, file_name="often.txt")
    make_row(State.LOCAL, org_id=IDLE, digest=large, size_bytes=99, action=Action.DOWNLOADED, file_name="large.txt")
    top = everyone.get(page_of(IDLE)).context["top"]
    assert [use.file_name for use in top.by_downloads] == ["often.txt", "large.txt"]
    assert [use.file_name for use in top.by_bytes] == ["large.txt", "often.txt"]


def test_most_downloaded_shows_the_bytes_that_were_downloaded(everyone: Client) -> None:
    make_row(State.LOCAL, org_id=IDLE, size_bytes=2000)
    make_row(State.LOCAL, org_id=IDLE, size_bytes=2000, action=Action.DOWNLOADED)
    page = everyone.get(page_of(IDLE)).content.decode()
    assert re.findall(r'title="(\d+ bytes [^"]+)">([^<]+)<', page) == [
        ("2000 bytes down", "2.0 KiB"),
        ("4000 bytes up and down", "3.9 KiB"),
    ]


@pytest.mark.parametrize(
    ("events", "name"),
    [
        ([("up", "first.bin"), ("up", "second.bin"), ("down", "hi there.txt")], "second.bin"),
        ([("up", "first.bin"), ("again", "again.bin"), ("down", "hi there.txt")], "again.bin"),
        ([("up", ""), ("down", "first.txt"), ("down", "second.txt")], "second.txt"),
    ],
)
def test_artifact_is_named_by_its_uploads_first(everyone: Client, events: list[tuple[str, str]], name: str) -> None:
    for way, file_name in events:
        action = Action.DOWNLOADED if way == "down" else Action.UPLOADED
        make_row(State.LOCAL, org_id=IDLE, action=action, skipped=way == "again", file_name=file_name)
    (use,) = everyone.get(page_of(IDLE)).context["top"].by_downloads
    assert use.file_name == name


def test_organization_that_sealing_has_not_met_yet_has_a_page(everyone: Client) -> None:
    new = uuid.uuid4()
    assert everyone.get(page_of(new)).status_code == 404
    make_row(State.LOCAL, org_id=new)
    assert everyone.get(page_of(new)).status_code == 200
    everyone.post(page_of(new), {"display_name": "New"})
    assert Organization.objects.get(pk=new).display_name == "New"


def test_name_is_given_and_recorded(everyone: Client) -> None:
    everyone.post(page_of(SMALL), {"display_name": "Smaller"})
    assert Organization.objects.get(pk=SMALL).display_name == "Smaller"
    (act,) = acts()
    assert act["ActionType"] == "CASOrganizationChanged"
    assert act["OrgID"] == str(SMALL)
    assert (act["Info"]["before"], act["Info"]["after"]) == ("Small & Sons", "Smaller")


def test_saving_the_same_name_is_no_change(everyone: Client) -> None:
    everyone.post(page_of(SMALL), {"display_name": "Small & Sons"})
    assert acts() == []


@pytest.mark.parametrize("name", ["a\u202eb", "a\x07b", "x" * 201])
def test_hostile_name_is_refused(everyone: Client, name: str) -> None:
    assert everyone.post(page_of(SMALL), {"display_name": name}).status_code == 200
    assert Organization.objects.get(pk=SMALL).display_name == "Small & Sons"


def test_name_that_got_there_otherwise_is_shown_escaped(everyone: Client) -> None:
    Organization.objects.filter(pk=BIG).update(display_name=HOSTILE)
    for address in (LIST, page_of(BIG), page_of(BIG, "history")):
        page = everyone.get(address).content.decode()
        assert "\u202e" not in page
        assert "<script>x" not in page
        assert "\\u202e" in page


def test_nobody_changes_without_the_permission() -> None:
    viewer = client_of("view_organization")
    assert viewer.post(page_of(SMALL), {"display_name": "Other"}).status_code == 403
    assert Organization.objects.get(pk=SMALL).display_name == "Small & Sons"


def test_nobody_deletes(everyone: Client) -> None:
    assert everyone.post(page_of(SMALL, "delete"), {"post": "yes"}).status_code == 403
    assert everyone.post(LIST, {"action": "delete_selected", "_selected_action": [SMALL], "post": "yes"})
    assert Organization.objects.count() == 3


def test_organization_is_added_before_its_first_event() -> None:
    new = uuid.uuid4()
    client = client_of(*EVERYTHING, "add_organization")
    client.post(reverse("admin:audit_organization_add"), {"org_id": str(new), "display_name": "New"})
    assert Organization.objects.get(pk=new).display_name == "New"
    assert [act["ActionType"] for act in acts()] == ["CASOrganizationAdded"]


def test_usage_and_events_are_for_those_who_may_see_them() -> None:
    viewer = client_of("view_organization")
    page = viewer.get(page_of(BIG))
    assert page.status_code == 200
    assert not [name for name in ("figures", "chart", "top", "recent", "usage_file") if name in page.context]
    assert listed(viewer) == [IDLE, SMALL, BIG]
    assert listed(viewer, o="1") == [IDLE, SMALL, BIG]
    assert b"KiB" not in viewer.get(LIST).content


def test_pages_need_the_view_permission() -> None:
    other = client_of("view_usagetotal", "export_usagetotal", "view_auditevent")
    for address in (LIST, page_of(BIG), page_of(BIG, "usage"), ALL_USAGE):
        assert other.get(address).status_code == 403


def test_file_needs_the_export_permission() -> None:
    viewer = client_of("view_organization", "view_usagetotal")
    for address in (page_of(BIG, "usage"), ALL_USAGE):
        assert viewer.get(address).status_code == 403
    assert b"usage.csv" not in viewer.get(page_of(BIG)).content + viewer.get(LIST).content
    assert acts() == []


def test_file_has_usage_by_day_and_location(everyone: Client) -> None:
    (row,) = csv_rows(everyone, page_of(BIG, "usage"))
    day = AuditEvent.objects.filter(org_id=BIG).latest("id").occurred_at
    assert row.pop("start").startswith(f"{day:%Y-%m-%dT00:00}")
    assert row == {
        "org_id": str(BIG),
        "organization": "",
        "backend": "FILESYSTEM",
        "location": "far",
        "uploaded_bytes": "5000",
        "downloaded_bytes": "3000",
        "saved_bytes": "5000",
        "uploads": "1",
        "downloads": "1",
        "skipped_uploads": "1",
        "dedup_ratio": "0.5",
    }


def test_file_of_all_has_a_row_for_each(everyone: Client) -> None:
    rows = csv_rows(everyone, ALL_USAGE)
    assert {row["org_id"]: row["uploaded_bytes"] for row in rows} == {
        str(BIG): "5000",
        str(SMALL): "30",
        str(IDLE): "0",
    }


def test_name_in_a_file_is_no_formula(everyone: Client) -> None:
    Organization.objects.filter(pk=BIG).update(display_name="=1+1")
    assert csv_rows(everyone, page_of(BIG, "usage"))[0]["organization"] == "'=1+1"
    assert "'=1+1" in {row["organization"] for row in csv_rows(everyone, ALL_USAGE)}


def test_exports_are_recorded(everyone: Client) -> None:
    csv_rows(everyone, page_of(BIG, "usage"), first="2026-11-01", last="2026-11-02")
    csv_rows(everyone, ALL_USAGE)
    one, of_all = acts()
    assert one["ActionType"] == of_all["ActionType"] == "CASUsageExported"
    assert (one["OrgID"], of_all["OrgID"]) == (str(BIG), None)
    assert (one["Info"]["from"], one["Info"]["to"]) == ("2026-11-01T00:00Z", "2026-11-03T00:00Z")


@pytest.mark.parametrize("name", ["one", "all"])
@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"first": "2026-02-30", "last": "2026-03-31"}, "There is no such day."),
        ({"first": "2026-03-02", "last": "2026-03-01"}, "The first day must not be after the last."),
        ({"period": "30"}, "There is no such period"),
    ],
)
def test_no_file_is_of_another_period_than_was_asked_for(
    everyone: Client, name: str, query: dict[str, str], problem: str
) -> None:
    answer = everyone.get(ALL_USAGE if name == "all" else page_of(BIG, "usage"), query)
    assert (answer.status_code, answer["Content-Type"]) == (400, "text/plain; charset=utf-8")
    assert problem in answer.content.decode()
    assert acts() == []


class TestLimited:
    """Whoever is limited sees theirs, and of others not even that they are there."""

    @pytest.fixture
    def limited(self) -> Client:
        return client_of(*EVERYTHING, limited_to=[SMALL])

    @pytest.fixture
    def to_none(self) -> Client:
        return client_of(*EVERYTHING, limited_to=[])

    def test_list_and_search(self, limited: Client, to_none: Client) -> None:
        for query in ({}, {"o": "0"}, {"q": "8000"}, {"q": ""}):
            assert listed(limited, **query) == ([] if query.get("q") else [SMALL])
            assert listed(to_none, **query) == []
        assert listed(limited, q="s") == [SMALL]
        assert listed(limited, q=str(BIG)) == []

    def test_page(self, limited: Client, to_none: Client) -> None:
        assert limited.get(page_of(SMALL)).status_code == 200
        for client, organization in ((limited, BIG), (limited, uuid.uuid4()), (to_none, SMALL), (to_none, BIG)):
            assert client.get(page_of(organization)).status_code == 404
            assert client.post(page_of(organization), {"display_name": "Mine"}).status_code == 404
        assert not Organization.objects.filter(display_name="Mine").exists()

    def test_history(self, limited: Client, to_none: Client) -> None:
        assert limited.get(page_of(SMALL, "history")).status_code == 200
        assert limited.get(page_of(BIG, "history")).status_code == 302
        assert to_none.get(page_of(SMALL, "history")).status_code == 302

    def test_files(self, limited: Client, to_none: Client) -> None:
        assert [row["org_id"] for row in csv_rows(limited, ALL_USAGE)] == [str(SMALL)]
        assert csv_rows(to_none, ALL_USAGE) == []
        assert csv_rows(limited, page_of(SMALL, "usage"))
        for client, organization in ((limited, BIG), (to_none, SMALL)):
            assert client.get(page_of(organization, "usage")).status_code == 404

    def test_autocomplete(self, limited: Client, to_none: Client) -> None:
        query = {"app_label": "audit", "model_name": "organizationlimit", "field_name": "organizations", "term": ""}
        address = reverse("admin:autocomplete")
        assert [each["id"] for each in limited.get(address, query).json()["results"]] == [str(SMALL)]
        assert to_none.get(address, query).json()["results"] == []

    def test_adding(self) -> None:
        client = client_of(*EVERYTHING, "add_organization", limited_to=[SMALL])
        assert client.get(reverse("admin:audit_organization_add")).status_code == 403

    def test_superusers_see_all(self) -> None:
        client = client_of(is_superuser=True, limited_to=[SMALL])
        assert listed(client) == [BIG, SMALL, IDLE]
        assert client.get(page_of(BIG)).status_code == 200


def test_events_of_an_act_are_among_the_latest(everyone: Client) -> None:
    everyone.post(page_of(SMALL), {"display_name": "Smaller"})
    words = everyone.get(page_of(SMALL)).context["recent"][0].words
    assert words.endswith("changed organization Smaller")


def test_sizes_below_zero_break_nothing(everyone: Client) -> None:
    AuditEvent.insert([AuditEvent.column_values(make_event(org_id=IDLE, size_bytes=-5), State.MIRRORED)])
    seal_all()
    assert everyone.get(page_of(IDLE)).status_code == 200
    assert everyone.get(LIST).status_code == 200
