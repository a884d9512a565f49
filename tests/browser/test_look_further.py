"""A search that found nothing yet goes on by itself, and stops when told to."""

from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse
from playwright.sync_api import Page, Route, expect

from audit.admin import event_list
from audit.api_pages import Effort
from tests.browser.visiting import Watched
from tests.browser.world import World
from tests.factories import make_row

LIST = reverse("admin:audit_auditevent_changelist")
OLDEST = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def page(watched: Watched, world: World, monkeypatch: pytest.MonkeyPatch) -> Page:
    """Of a trail whose oldest event is the one looked for, ten pages back."""
    for minutes in range(100):
        time = OLDEST + timedelta(minutes=minutes)
        make_row(timestamp_ns=int(time.timestamp()) * 1_000_000_000, file_name="needle" if minutes == 0 else "hay")
    monkeypatch.setattr(event_list, "EFFORT", Effort(events=10, step=10))
    return watched.page


def test_it_goes_on_to_the_page_that_has_an_event(page: Page, watched: Watched) -> None:
    watched.visit(f"{LIST}?file_name=needle&action=uploaded")
    expect(page.locator("#result_list .field-name")).to_have_text("needle")
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    page.go_back()  # the pages between are none to come back to
    assert page.url == "about:blank"


def test_it_ends_where_the_trail_does(page: Page, watched: Watched) -> None:
    watched.visit(f"{LIST}?file_name=nowhere")
    expect(page.get_by_text("No event matches.")).to_be_visible()
    expect(page.get_by_role("link", name="Look further back")).to_have_count(0)


def test_it_stops_when_told_to_and_the_link_goes_on_from_there(page: Page, watched: Watched) -> None:
    def held(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) < 3:
            route.continue_()
        else:
            waiting.append(route)

    asked: list[str] = []
    waiting: list[Route] = []
    page.route("**/*older=*", held)
    # Held for as long as the picture takes.
    page.add_init_script("AbortSignal.timeout = () => new AbortController().signal")
    watched.visit(f"{LIST}?file_name=needle")
    page.wait_for_function(
        "() => performance.getEntriesByType('resource').filter((e) => e.name.includes('older=')).length >= 2"
    )
    watched.verify_accessibility()
    watched.keep_picture("events-looking-further")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("[data-looked]")).to_contain_text("Stopped.")
    for route in waiting:
        route.continue_()
    page.wait_for_timeout(500)
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    assert len(asked) == 3
    link = page.get_by_role("link", name="Look further back")
    assert link.get_attribute("href") != page.locator(".cas-pages").get_attribute("data-further")
    page.unroute("**/*older=*")
    link.click()
    expect(page.locator("#result_list .field-name")).to_have_text("needle")


def test_a_server_that_does_not_answer_leaves_the_link(page: Page, watched: Watched) -> None:
    page.route("**/*older=*", lambda route: route.abort())
    page.goto(f"{watched.url}{LIST}?file_name=needle")
    expect(page.locator("[data-looked]")).to_contain_text("The server did not answer.")
    expect(page.get_by_role("link", name="Look further back")).to_be_visible()
    watched.forget()
