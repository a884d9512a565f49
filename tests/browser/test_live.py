"""The live page keeps itself up to date: everything once, and nothing while nobody looks."""

import pytest
from django.urls import reverse
from playwright.sync_api import Locator, Page, Route, expect

from audit.admin import live
from audit.models import AuditEvent, State
from tests.audit.test_live import late, values_of
from tests.browser.visiting import Watched
from tests.browser.world import World
from tests.factories import make_row

LIVE = reverse("admin:audit_auditevent_live")
SECONDS = 30_000  # ms, for a machine that does much else


@pytest.fixture
def page(watched: Watched, world: World) -> Page:
    with watched.page.expect_response("**/live/events/**"):
        watched.visit(LIVE)
    expect(status(watched.page)).to_have_text("Live.")
    return watched.page


def rows(page: Page) -> Locator:
    return page.locator("[data-rows] tr")


def status(page: Page) -> Locator:
    return page.get_by_role("status").filter(has_not=page.locator(".visually-hidden")).first


def names(page: Page) -> list[str]:
    return page.locator("[data-rows] .field-name").all_inner_texts()


def hide(page: Page, is_hidden: str) -> None:
    page.evaluate(f"Object.defineProperty(document, 'hidden', {{value: {is_hidden}, configurable: true}})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_events_appear_on_top_whenever_they_occurred(page: Page) -> None:
    before = rows(page).count()
    make_row(State.LOCAL, file_name="new.txt")
    expect(rows(page)).to_have_count(before + 1, timeout=SECONDS)
    late(600, file_name="late.txt")
    expect(rows(page)).to_have_count(before + 2, timeout=SECONDS)
    assert names(page)[:2] == ["late.txt", "new.txt"]


def test_an_id_that_is_committed_late_is_neither_missed_nor_doubled(page: Page) -> None:
    before, newest = rows(page).count(), AuditEvent.objects.latest("pk").pk
    AuditEvent(pk=newest + 2, **values_of()).save()
    expect(rows(page)).to_have_count(before + 1, timeout=SECONDS)
    AuditEvent(pk=newest + 1, **values_of()).save()
    expect(rows(page)).to_have_count(before + 2, timeout=SECONDS)
    with page.expect_response("**/live/events/**"), page.expect_response("**/live/events/**"):
        pass
    expect(rows(page)).to_have_count(before + 2)


def test_nothing_is_asked_while_paused_and_nothing_is_missed(page: Page) -> None:
    before, asked = rows(page).count(), []
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Paused.", exact=True)).to_be_visible()
    page.on("request", lambda request: asked.append(request.url))
    make_row(State.LOCAL, file_name="meanwhile.txt")
    page.wait_for_timeout(5000)
    assert asked == []
    page.get_by_role("button", name="Resume").click()
    expect(rows(page)).to_have_count(before + 1, timeout=SECONDS)


def test_answer_that_comes_when_it_is_paused_does_not_say_it_is_live(page: Page) -> None:
    before = rows(page).count()
    held: list[Route] = []
    page.route("**/live/events/**", lambda route: held.append(route))  # noqa: PLW0108  (Playwright marks what it is given)
    make_row(State.LOCAL)
    with page.expect_request("**/live/events/**"):
        pass
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Paused.", exact=True)).to_be_visible()
    held[0].continue_()
    expect(rows(page)).to_have_count(before + 1)
    expect(page.get_by_text("Paused.", exact=True)).to_be_visible()


def test_nothing_is_asked_while_out_of_sight(page: Page) -> None:
    before, asked = rows(page).count(), []
    hide(page, "true")
    expect(page.get_by_text("Paused while out of sight.")).to_be_visible()
    page.on("request", lambda request: asked.append(request.url))
    make_row(State.LOCAL)
    page.wait_for_timeout(5000)
    assert asked == []
    hide(page, "false")
    expect(rows(page)).to_have_count(before + 1, timeout=SECONDS)


def test_a_server_in_trouble_is_asked_less_and_less_and_then_goes_on(page: Page, watched: Watched) -> None:
    before, times = rows(page).count(), []

    def fail(route: Route) -> None:
        times.append(page.evaluate("performance.now()"))
        route.fulfill(status=503)

    page.route("**/live/events/**", fail)
    expect(page.get_by_text("The server does not answer; next try in 8 seconds.")).to_be_visible(timeout=SECONDS)
    make_row(State.LOCAL)
    page.unroute("**/live/events/**", fail)
    expect(rows(page)).to_have_count(before + 1, timeout=SECONDS)
    assert len(times) >= 2
    assert times[1] - times[0] >= 3900
    watched.forget()


def test_the_page_keeps_a_bounded_number_of_rows(page: Page) -> None:
    for _ in range(3):
        for _ in range(90):
            make_row(State.LOCAL)
        last = make_row(State.LOCAL)
        expect(page.locator(f"[data-id='{last.pk}']")).to_be_visible(timeout=SECONDS)
    assert rows(page).count() == 200


def test_whoever_was_signed_out_is_told(page: Page, watched: Watched) -> None:
    page.context.clear_cookies()
    expect(page.get_by_text("You are signed out, or may no longer see this. Reload the page.")).to_be_visible(
        timeout=SECONDS
    )
    expect(page.get_by_role("button", name="Pause")).to_be_hidden()


def test_only_what_the_filters_ask_for_appears(watched: Watched, world: World) -> None:
    page = watched.page
    watched.visit(f"{LIVE}?q=wanted")
    expect(page.get_by_text("Nothing of late.")).to_be_visible()
    make_row(State.LOCAL, file_name="other.txt")
    make_row(State.LOCAL, file_name="wanted.txt")
    expect(rows(page)).to_have_count(1, timeout=SECONDS)
    assert names(page) == ["wanted.txt"]
    expect(page.get_by_text("Nothing of late.")).to_be_hidden()


def test_it_says_so_when_more_arrived_than_one_answer_holds(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST", 3)
    page.get_by_role("button", name="Pause").click()
    for _ in range(5):
        make_row(State.LOCAL)
    polls: list[Route] = []

    def first_alone(route: Route) -> None:
        polls.append(route)
        if len(polls) == 1:
            route.continue_()

    page.route("**/live/events/**", first_alone)  # the next one would take the words away
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("3 new events, and there were more than are shown.")).to_be_visible(timeout=SECONDS)
