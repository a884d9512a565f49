"""`/api/docs/`: the API's document, readable, under a policy that lets in nothing but our own files."""

from django.urls import reverse
from playwright.sync_api import expect

from tests.browser.conftest import Open


def test_document_is_shown(open_page: Open) -> None:
    watched = open_page()
    watched.visit(reverse("api-docs"))
    page = watched.page
    expect(page.get_by_role("heading", name="Artifact CAS")).to_be_visible()
    for tag in ("artifacts", "uploads", "trail", "service"):
        expect(page.locator(f"#operations-tag-{tag}")).to_be_visible()
    page.locator("#operations-artifacts-download .opblock-summary-control").click()
    expect(page.get_by_text("Its bytes are verified on their way.", exact=False)).to_be_visible()
    page.get_by_role("button", name="Authorize").first.click()
    expect(page.get_by_text("A JWT of the control plane", exact=False).first).to_be_visible()
    watched.verify()


def test_document_follows_the_scheme(open_page: Open) -> None:
    watched = open_page(color_scheme="dark")
    watched.visit(reverse("api-docs"))
    background = "getComputedStyle(document.documentElement).backgroundColor"
    dark = watched.page.evaluate(background)
    watched.page.emulate_media(color_scheme="light")
    expect(watched.page.locator("html.dark-mode")).to_have_count(0)
    assert watched.page.evaluate(background) != dark
    watched.verify()


def test_call_is_tried_out(open_page: Open) -> None:
    watched = open_page()
    watched.visit(reverse("api-docs"))
    page = watched.page
    page.locator("#operations-service-livez .opblock-summary-control").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table tr.response .response-col_status")).to_contain_text("200")
    watched.verify()
