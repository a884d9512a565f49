"""A page in the browser: opened while everything that goes wrong is written down, then looked over by axe-core."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import ConsoleMessage, Page, Request, Response

from devstack.environment import PROJECT

# Where CI keeps what each page looked like.
PICTURES = PROJECT / "build" / "pages"

_SERIOUS = {"serious", "critical"}
_VIOLATIONS = "window.casViolations"
# Runs before any script of the page: a policy's violation is told to it, whether the console has it or not.
_LISTEN = f"""
    {_VIOLATIONS} = [];
    document.addEventListener("securitypolicyviolation", (event) => {_VIOLATIONS}.push(
        `${{event.effectiveDirective}} blocked ${{event.blockedURI || "inline"}} ${{event.sample}}`));
"""
_WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
# Colours that are on their way from one scheme to the other are nobody's.
_SETTLE = "Promise.allSettled(document.getAnimations().map((each) => each.finished)).then(() => null)"
# Without preloading, by which it would put styles into the page.
_AXE = """async () => (await axe.run(document, {preload: false, resultTypes: ["violations"]})).violations"""


@dataclass
class Watched:
    """A page, and what the browser has complained of since: errors, warnings, requests that failed, the policy."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.add_init_script(_LISTEN)
        self.page.on("console", self._on_console)
        self.page.on("response", self._on_response)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", self._on_failure)

    def visit(self, path: str) -> Response:
        """Open a page with all that it loads; fail when anything went wrong, or nothing could have."""
        answer = self.page.goto(f"{self.url}{path}", wait_until="load")
        assert answer is not None
        policy = answer.headers.get("content-security-policy", "")
        assert "default-src 'none'" in policy, f"{path} has no strict policy: {policy!r}"
        assert "unsafe" not in policy, policy
        self.verify()
        return answer

    def verify(self) -> None:
        """Fail when the browser has complained of anything so far."""
        complaints = [*self.complaints, *self.page.evaluate(_VIOLATIONS)]
        assert not complaints, "\n".join(complaints)

    def forget(self) -> None:
        """Begin anew with what went wrong so far."""
        self.complaints.clear()
        self.page.evaluate(f"{_VIOLATIONS} = []")

    def verify_width(self) -> None:
        """Fail when the page, rather than something in it, must be scrolled sideways."""
        wanted, there_is = self.page.evaluate(_WIDTHS)
        assert wanted <= there_is, f"The page is {wanted} pixels wide; there are {there_is}."

    def verify_accessibility(self) -> None:
        """Fail when axe-core finds anything serious. It comes in by the debugger, past the page's own policy."""
        self.page.evaluate(_SETTLE)
        self.page.evaluate(AXE_SCRIPT)
        found = cast(list[dict[str, Any]], self.page.evaluate(_AXE))
        serious = [_told(violation) for violation in found if violation["impact"] in _SERIOUS]
        assert not serious, "\n".join(serious)

    def keep_picture(self, name: str) -> Path:
        path = PICTURES / f"{name}.png"
        self.page.screenshot(path=path, full_page=True)
        return path

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def _on_response(self, response: Response) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.url}: {response.status}")

    def _on_failure(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # going on to the next page gives up an icon still loading
            self.complaints.append(f"{request.url}: {request.failure}")


def _told(violation: dict[str, Any]) -> str:
    """A violation in a few lines: which rule, and of its first elements what each is and what is wrong with it."""
    nodes = [f"  {node['html'][:200]}\n    {node['failureSummary']}" for node in violation["nodes"][:5]]
    return "\n".join([f"{violation['id']} ({violation['impact']}), {len(violation['nodes'])} times:", *nodes])
