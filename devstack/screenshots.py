"""`make screenshots`: the pictures in docs/images, of a stack that is started and filled for them (showcase.py)."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, StorageState, ViewportSize, sync_playwright

from devstack import showcase
from devstack.environment import PROJECT
from devstack.showcase import Showcase

FOLDER = PROJECT / "docs" / "images"
LAPTOP = (1280, 800)
PHONE = (390, 844)

# Without a sandbox, since containers seldom allow one; and nothing that would call home.
CHROMIUM_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

Doing = Callable[[Page, Showcase], None]


def look(page: Page, show: Showcase) -> None:
    """Nothing: the page as it is."""


def first_row(page: Page, show: Showcase) -> None:
    """The page of the list's first row."""
    page.locator("#result_list tbody th a").first.click()


def artifact(page: Page, show: Showcase) -> None:
    """The page of an artifact that several organizations had."""
    page.goto(f"{show.stack.url}/admin/artifacts/artifact/?q={show.digest}")
    first_row(page, show)


def live(page: Page, show: Showcase) -> None:
    """Until some events have arrived."""
    show.work(seconds=8)
    page.locator("tr.cas-fresh").nth(3).wait_for()


def two_factor(page: Page, show: Showcase) -> None:
    """Where it is set up; the key is the showcase's own, and ends with it."""
    page.get_by_role("link", name="Two-factor").first.click()


@dataclass(frozen=True)
class Shot:
    """One picture, of the page at `path` once `doing` is done. It is as high as the page when that is `whole`."""

    file: str
    path: str
    doing: Doing = look
    scheme: Literal["light", "dark"] = "light"
    size: tuple[int, int] = LAPTOP
    whole: bool = False
    is_signed_in: bool = True


EVENTS = "/admin/audit/auditevent/"
SHOTS = [
    Shot("overview.png", "/admin/", whole=True),
    Shot("overview-dark.png", "/admin/", scheme="dark"),
    Shot("organizations.png", "/admin/audit/organization/"),
    Shot("organization.png", "/admin/audit/organization/", first_row, whole=True),
    Shot("events-light.png", EVENTS),
    Shot("events-dark.png", f"{EVENTS}?action=uploaded&min_size=100MiB", scheme="dark"),
    Shot("events-phone.png", EVENTS, size=PHONE),
    Shot("event-detail.png", f"{EVENTS}?action=downloaded", first_row, size=(1280, 1000)),
    Shot("artifacts.png", "/admin/artifacts/artifact/?location__id__exact=1"),
    Shot("artifact.png", "/admin/artifacts/artifact/", artifact, whole=True),
    Shot("live.png", f"{EVENTS}live/", live),
    Shot("location.png", "/admin/artifacts/location/?q=archive", first_row, whole=True),
    Shot("login.png", "/admin/login/", size=(900, 580), is_signed_in=False),
    Shot("two-factor.png", "/admin/", two_factor),
]


def find_chromium() -> str | None:
    """The system's Chromium or Chrome, None when there is none on PATH."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def log_in(page: Page, url: str, user: str, password: str) -> None:
    """Through the form, as anybody does."""
    page.goto(f"{url}/admin/login/?next=/admin/")
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{url}/admin/")


def main() -> None:
    """Take every picture anew, or those named on the command line; exit with a message when one cannot be taken."""
    executable = find_chromium()
    if executable is None:
        sys.exit("No Chromium on PATH. On Debian: apt-get install chromium")
    wanted = [shot for shot in SHOTS if shot.file in sys.argv[1:] or not sys.argv[1:]]
    FOLDER.mkdir(parents=True, exist_ok=True)
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # Playwright's loop runs on this thread
    with showcase.running() as show, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        session = sign_in(browser, show)
        for shot in wanted:
            take(browser, show, session if shot.is_signed_in else None, shot, FOLDER / shot.file)
        browser.close()


def sign_in(browser: Browser, show: Showcase) -> StorageState:
    """Once for all pictures: the trail tells of each."""
    context = browser.new_context()
    log_in(context.new_page(), show.stack.url, show.user, show.password)
    session = context.storage_state()
    context.close()
    return session


def take(browser: Browser, show: Showcase, session: StorageState | None, shot: Shot, target: Path) -> None:
    """Take one picture."""
    width, height = shot.size
    viewport: ViewportSize = {"width": width, "height": height}
    context = browser.new_context(viewport=viewport, color_scheme=shot.scheme, storage_state=session)
    page = context.new_page()
    answer = page.goto(f"{show.stack.url}{shot.path}")
    if answer is None or not answer.ok:
        sys.exit(f"{shot.path} answered {answer.status if answer else 'nothing'}.")
    shot.doing(page, show)
    page.wait_for_load_state("load")
    page.screenshot(path=target, full_page=shot.whole)
    context.close()
    print(f"{target.relative_to(PROJECT)}: {target.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
