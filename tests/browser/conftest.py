"""One Chromium and one server for all tests of the folder; each test has a session and rows of its own."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from artifacts.models import Location
from devstack.screenshots import CHROMIUM_ARGUMENTS, find_chromium
from tests.browser.visiting import Watched
from tests.browser.world import World
from tests.wanting import skip_without

Open = Callable[..., Watched]

expect.set_options(timeout=30_000)  # ms: Chromium, the server and the tests share a machine


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The system's Chromium. On CI its absence is a failure; elsewhere these tests are skipped."""
    executable = find_chromium()
    if executable is None:
        skip_without("Chromium (Debian's package chromium)")
    with pytest.MonkeyPatch.context() as patch:
        # Playwright's loop runs on this thread, which Django takes for asynchronous code.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
            yield browser
            browser.close()


@pytest.fixture
def site(live_server: LiveServer, settings: Settings) -> str:
    """The address of the admin's server, which speaks plain HTTP."""
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = False
    return live_server.url


@pytest.fixture
def world(transactional_db: None, location: Location) -> World:
    """Rows for all pages."""
    return World(location)


@pytest.fixture
def open_page(browser: Browser, site: str, transactional_db: None) -> Iterator[Open]:
    """Open a page of a new session: `open_page(user, **options of the browser's context)`; user None is nobody."""
    contexts: list[BrowserContext] = []

    def open_page(user: User | None = None, **options: Any) -> Watched:
        context = browser.new_context(base_url=site, **options)
        contexts.append(context)
        if user is not None:
            client = Client()
            client.force_login(user)
            cookie = client.cookies[django_settings.SESSION_COOKIE_NAME]
            context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": site}])
        page = context.new_page()
        page.route("**/*", lambda route: route.continue_())
        return Watched(page, site)

    yield open_page
    for context in contexts:
        # Nothing new is asked, and what was is answered: a request that is broken off leaves its connection open.
        context.set_offline(offline=True)
        for page in context.pages:
            page.unroute_all(behavior="wait")
        context.close()


@pytest.fixture
def admin(transactional_db: None) -> User:
    return User.objects.create_superuser("admin", "admin@example.org", "quite-a-secret")


@pytest.fixture
def watched(open_page: Open, admin: User, world: World) -> Iterator[Watched]:
    """A page of an administrator. The test fails if the browser complained at any time."""
    watched = open_page(admin, permissions=["clipboard-read", "clipboard-write"])
    yield watched
    watched.verify()
