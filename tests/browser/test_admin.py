"""The admin in a real browser: what its scripts and styles do, and that they load."""

import os
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, Route, expect, sync_playwright
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from audit.models import AuditEvent, State
from devstack.screenshots import CHROMIUM_ARGUMENTS, find_chromium, log_in
from tests.factories import make_row

PASSWORD = "quite-a-secret"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium. On CI its absence is a failure; elsewhere these tests are skipped."""
    executable = find_chromium()
    if executable is None:
        message = "No Chromium on PATH. On Debian: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with pytest.MonkeyPatch.context() as patch:
        # Playwright's loop runs on this thread, which Django takes for asynchronous code.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
            yield browser
            browser.close()


@pytest.fixture
def event(transactional_db: None) -> AuditEvent:
    return make_row(State.PUBLISHED, file_name="<script>console.error('run')</script>")


def watch(page: Page) -> list[str]:
    """What the browser complains of, from now on."""
    complaints: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(message.text)

    def on_response(response: Response) -> None:
        if response.status >= 400:
            complaints.append(f"{response.url}: {response.status}")

    def on_failure(request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # going on to the next page gives up an icon still loading
            complaints.append(f"{request.url}: {request.failure}")

    page.on("console", on_console)
    page.on("response", on_response)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", on_failure)
    return complaints


@pytest.fixture
def page(browser: Browser, live_server: LiveServer, event: AuditEvent, settings: Settings) -> Iterator[Page]:
    """Logged in. The test fails if the browser complained, or if a request failed, at any time."""
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = False  # the live server speaks plain HTTP
    User.objects.create_superuser("admin", password=PASSWORD)
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    complaints = watch(page)
    log_in(page, live_server.url, "admin", PASSWORD)
    yield page
    context.close()
    assert complaints == []


def test_a_digest_is_copied_by_its_button(page: Page, event: AuditEvent) -> None:
    page.get_by_role("link", name="Audit events").first.click()
    button = page.get_by_role("button", name="Copy digest")
    button.click()
    expect(button).to_have_attribute("data-feedback", "Copied")
    expect(page.get_by_role("status")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == f"sha256:{event.digest}"
    expect(button).not_to_have_attribute("data-feedback", "Copied")


def test_a_digest_is_copied_by_keyboard_and_without_the_clipboard_api(page: Page, event: AuditEvent) -> None:
    """As it is on a site served over plain HTTP from another host."""
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.get_by_role("link", name="Audit events").first.click()
    button = page.get_by_role("button", name="Copy digest")
    button.press("Enter")
    expect(button).to_have_attribute("data-feedback", "Copied")
    expect(button).to_be_focused()
    page.locator("#searchbar").press("ControlOrMeta+v")
    expect(page.locator("#searchbar")).to_have_value(f"sha256:{event.digest}")


def test_detail_opens_and_runs_nothing_of_a_file_name(page: Page, event: AuditEvent) -> None:
    page.get_by_role("link", name="Audit events").first.click()
    page.locator("#result_list tbody th a").click()
    expect(page.locator("pre").first).to_have_text(event.payload)
    expect(page.locator("bdi.cas-name")).to_have_text(event.file_name)


def test_a_strict_content_security_policy_would_hold(page: Page, event: AuditEvent) -> None:
    """The browser itself enforces it here, and would complain."""
    policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'"

    def add_policy(route: Route) -> None:
        answer = route.fetch()
        headers = {**answer.headers, "content-security-policy": policy}
        route.fulfill(response=answer, headers=headers)

    page.route("**/admin/**", add_policy)
    page.get_by_role("link", name="Audit events").first.click()
    page.get_by_role("button", name="Copy digest").click()
    page.locator("#result_list tbody th a").click()
    expect(page.locator("pre").first).to_be_visible()
    page.goto(page.url.split("/audit/")[0] + "/artifacts/location/add/")
    expect(page.get_by_label("Credentials")).to_be_visible()
