"""What the scripts of the admin's pages do, and what they do not."""

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import Page, expect

from devstack.screenshots import log_in
from tests.browser.conftest import Open
from tests.browser.visiting import Watched
from tests.browser.world import World


@pytest.fixture
def page(watched: Watched, world: World) -> Page:
    """The page of an event."""
    watched.visit(reverse("admin:audit_auditevent_change", args=[world.event.pk]))
    return watched.page


def stop_the_clock(page: Page) -> None:
    """What goes after two seconds stays, however long the test takes to look."""
    page.clock.install(time=0)
    page.clock.pause_at(1000)


def test_a_digest_is_copied_by_its_button(page: Page, world: World) -> None:
    stop_the_clock(page)
    button = page.get_by_role("button", name="Copy digest").first
    button.click()
    expect(button).to_have_attribute("data-feedback", "Copied")
    expect(page.get_by_role("status")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == f"sha256:{world.event.digest}"
    page.clock.run_for(2000)
    expect(button).not_to_have_attribute("data-feedback", "Copied")


def test_a_digest_is_copied_by_keyboard_and_without_the_clipboard_api(watched: Watched, world: World) -> None:
    """As it is on a site served over plain HTTP from another host."""
    page = watched.page
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    watched.visit(reverse("admin:artifacts_artifact_changelist", query={"q": str(world.artifact)}))
    stop_the_clock(page)
    button = page.get_by_role("button", name="Copy digest")
    button.press("Enter")
    expect(button).to_have_attribute("data-feedback", "Copied")
    expect(button).to_be_focused()
    page.locator("#searchbar").fill("")
    page.locator("#searchbar").press("ControlOrMeta+v")
    expect(page.locator("#searchbar")).to_have_value(str(world.artifact))


def test_detail_shows_the_message_and_runs_nothing_of_a_file_name(page: Page, world: World) -> None:
    expect(page.locator("pre").first).to_have_text(world.event.payload.replace("\u202e", r"\u202e"))
    expect(page.locator(".field-name bdi")).to_have_text(world.event.file_name.replace("\u202e", r"\u202e"))


def test_a_person_signs_in_by_the_form(open_page: Open, admin: User, site: str) -> None:
    watched = open_page()
    log_in(watched.page, site, admin.username, "quite-a-secret")
    expect(watched.page.locator("#user-tools")).to_contain_text("admin")
    watched.verify()


def test_what_a_policy_forbids_is_noticed(watched: Watched) -> None:
    watched.visit(reverse("admin:index"))
    watched.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<p style=\"color: red\">')")
    with pytest.raises(AssertionError, match="style-src"):
        watched.verify()
    watched.forget()


def test_what_axe_forbids_is_noticed(watched: Watched) -> None:
    watched.visit(reverse("admin:index"))
    watched.page.evaluate("document.getElementById('content').insertAdjacentHTML('beforeend', '<input type=text>')")
    with pytest.raises(AssertionError, match="label"):
        watched.verify_accessibility()
