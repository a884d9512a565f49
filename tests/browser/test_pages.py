"""Every page in light and dark, on a laptop and a phone: nothing complains, nothing overflows, all can read it."""

from collections.abc import Callable
from typing import Literal

import pytest
from django.urls import reverse

from tests.browser.conftest import Open
from tests.browser.visiting import Watched
from tests.browser.world import World

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
