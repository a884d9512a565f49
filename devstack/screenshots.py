"""`make screenshots`: pictures of a running stack's admin, for the documentation."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import environ
from playwright.sync_api import Browser, Page, sync_playwright

from devstack.environment import PROJECT, Stack

FOLDER = PROJECT / "docs" / "images"

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


@dataclass(frozen=True)
class Shot:
    """One picture; `is_detail` opens the first row of the list at `path`."""

    file: str
    path: str
    scheme: Literal["light", "dark"] = "light"
    is_detail: bool = False


SHOTS = [
    Shot("events-light.png", "/admin/audit/auditevent/"),
    Shot("events-dark.png", "/admin/audit/auditevent/", "dark"),
    Shot("event-detail.png", "/admin/audit/auditevent/?action=CASArtifactDownloaded", is_detail=True),
    Shot("artifacts.png", "/admin/artifacts/artifact/"),
    Shot("location.png", "/admin/artifacts/location/", is_detail=True),
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
    """Take every picture anew; exit with a message when there is no browser, stack or login."""
    executable = find_chromium()
    if executable is None:
        sys.exit("No Chromium on PATH. On Debian: apt-get install chromium")
    stack = Stack.from_environment()
    if not stack.env_file.exists():
        sys.exit(f"{stack.env_file} does not exist. Start the stack first: make run")
    environ.Env.read_env(str(stack.env_file))
    env = environ.Env()
    user, password = env.str("CAS_ADMIN_USER"), env.str("CAS_ADMIN_PASSWORD")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        for shot in SHOTS:
            take(browser, stack.url, user, password, shot, FOLDER / shot.file)
        browser.close()


def take(browser: Browser, url: str, user: str, password: str, shot: Shot, target: Path) -> None:
    """Take one picture in a session of its own."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme=shot.scheme)
    page = context.new_page()
    log_in(page, url, user, password)
    page.goto(f"{url}{shot.path}", wait_until="networkidle")
    if shot.is_detail:
        page.locator("#result_list tbody th a").first.click()
        page.wait_for_load_state("networkidle")
    page.screenshot(path=target)
    context.close()
    print(f"{target.relative_to(PROJECT)}: {target.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
