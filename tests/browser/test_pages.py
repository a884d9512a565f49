"""Every page in light and dark, on a laptop and a phone: nothing complains, nothing overflows, all can read it."""

from collections.abc import Callable
from typing import Literal

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from audit.admin import event_columns
from audit.models import State
from tests.browser.conftest import Open
from tests.browser.visiting import Watched
from tests.browser.world import World
from tests.factories import make_row

SCHEMES: list[Literal["light", "dark"]] = ["light", "dark"]
SIZES = {"laptop": (1280, 800), "phone": (390, 844)}

# A page's name, and where it is: an address's name, and the row that it is of.
PAGES: dict[str, Callable[[World], str]] = {
    "index": lambda world: reverse("admin:index"),
    "events": lambda world: reverse("admin:audit_auditevent_changelist"),
    "events-filtered": lambda world: reverse("admin:audit_auditevent_changelist", query={"q": "nothing-like-it"}),
    "events-live": lambda world: reverse("admin:audit_auditevent_live"),
    "events-live-filtered": lambda world: reverse("admin:audit_auditevent_live", query={"q": "nothing-like-it"}),
    "events-matching": lambda world: reverse("admin:audit_auditevent_matching"),
    "event": lambda world: reverse("admin:audit_auditevent_change", args=[world.event.pk]),
    "artifacts": lambda world: reverse("admin:artifacts_artifact_changelist"),
    "artifact": lambda world: reverse("admin:artifacts_artifact_change", args=[world.artifact.pk]),
    "locations": lambda world: reverse("admin:artifacts_location_changelist"),
    "location": lambda world: reverse("admin:artifacts_location_change", args=[world.location.pk]),
    "location-add": lambda world: reverse("admin:artifacts_location_add"),
    "location-history": lambda world: reverse("admin:artifacts_location_history", args=[world.location.pk]),
    "uploads": lambda world: reverse("admin:artifacts_resumableupload_changelist"),
    "scrubs": lambda world: reverse("admin:artifacts_scrub_changelist"),
    "scrub": lambda world: reverse("admin:artifacts_scrub_change", args=[world.scrub.pk]),
    "organizations": lambda world: reverse("admin:audit_organization_changelist"),
    "organization": lambda world: reverse("admin:audit_organization_change", args=[world.organization.pk]),
    "organization-history": lambda world: reverse("admin:audit_organization_history", args=[world.organization.pk]),
    "organization-add": lambda world: reverse("admin:audit_organization_add"),
    "organization-limits": lambda world: reverse("admin:audit_organizationlimit_changelist"),
    "organization-limit-add": lambda world: reverse("admin:audit_organizationlimit_add"),
    "two-factor": lambda world: reverse("admin:two_factor"),
    "users": lambda world: reverse("admin:auth_user_changelist"),
    "user": lambda world: reverse("admin:auth_user_change", args=[world.viewer.pk]),
    "user-add": lambda world: reverse("admin:auth_user_add"),
    "user-delete": lambda world: reverse("admin:auth_user_delete", args=[world.viewer.pk]),
    "groups": lambda world: reverse("admin:auth_group_changelist"),
    "group-add": lambda world: reverse("admin:auth_group_add"),
    "password": lambda world: reverse("admin:password_change"),
}


def verify(watched: Watched, path: str, name: str) -> None:
    watched.visit(path)
    look_at(watched, name)


def look_at(watched: Watched, name: str) -> None:
    """In each scheme and size: they differ by styles alone, so the page stays."""
    for size, (width, height) in SIZES.items():
        watched.page.set_viewport_size({"width": width, "height": height})
        for scheme in SCHEMES:
            watched.page.emulate_media(color_scheme=scheme)
            watched.keep_picture(f"{name}-{scheme}-{size}")
            watched.verify_width()
            watched.verify_accessibility()
    watched.verify()


@pytest.mark.parametrize("name", PAGES)
def test_page_is_sound(watched: Watched, world: World, name: str) -> None:
    verify(watched, PAGES[name](world), name)


@pytest.mark.parametrize(("size", "columns"), [("laptop", []), ("phone", []), ("phone", list(event_columns.COLUMNS))])
def test_events_are_not_cut(watched: Watched, world: World, size: str, columns: list[str]) -> None:
    make_row(State.PUBLISHED, action="CASThingThatSomebodyElseDidToIt", size_bytes=900 * 2**20)
    width, height = SIZES[size]
    watched.page.set_viewport_size({"width": width, "height": height})
    watched.visit(PAGES["events"](world))
    if columns:
        watched.page.get_by_text("Columns").click()
        for name in columns:
            watched.page.locator(f".cas-columns [value={name}]").check()
        watched.page.get_by_role("button", name="Show these").click()
        watched.page.locator("#result_list .field-message_id").first.wait_for()
    wanted, there_is = watched.page.locator(".results").evaluate("each => [each.scrollWidth, each.clientWidth]")
    assert wanted <= there_is
    for name in columns or event_columns.DEFAULT:
        assert watched.page.locator(f"#result_list td.field-{name}").first.evaluate("each => each.offsetWidth") > 0


def test_filters_stay_closed_and_say_what_they_are(watched: Watched, world: World) -> None:
    watched.visit(reverse("admin:audit_auditevent_changelist", query={"organization": "aurora", "action": "uploaded"}))
    expect(watched.page.locator(".cas-filters summary")).to_have_text(
        "Filters (2): organization aurora, action uploaded"
    )
    expect(watched.page.locator("#id_location")).to_be_hidden()
    watched.visit(reverse("admin:audit_auditevent_changelist", query={"min_size": "large"}))
    expect(watched.page.get_by_text("Not a size such as")).to_be_visible()


def test_question_before_a_replay_is_sound(watched: Watched, world: World) -> None:
    watched.visit(PAGES["events-matching"](world))
    watched.page.get_by_role("button", name="Replay to the stream").click()
    watched.page.get_by_role("button", name="Yes, publish again").wait_for()
    look_at(watched, "events-replay")


def test_login_is_sound(open_page: Open) -> None:
    verify(open_page(), reverse("admin:login"), "login")


def test_a_page_that_is_not_there_is_sound(watched: Watched) -> None:
    watched.page.goto(f"{watched.url}{reverse('admin:index')}nonsense/")
    assert len(watched.complaints) == 2, "its own status, told twice, and nothing of what it loads"
    watched.forget()
    look_at(watched, "not-found")
