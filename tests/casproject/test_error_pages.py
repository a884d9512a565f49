"""Errors of pages: to a browser a page, to all else a problem."""

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError
from django.test import Client

pytestmark = pytest.mark.django_db

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def signed_in(client: Client, is_superuser: bool = False) -> Client:
    client.force_login(User.objects.create_user("ada", is_staff=True, is_superuser=is_superuser))
    client.raise_request_exception = False
    return client


def fail(*args: object, **kwargs: object) -> None:
    raise DatabaseError("secret detail")


@pytest.mark.parametrize(
    ("path", "host", "status", "title", "code"),
    [
        ("/nonsense/", "testserver", 404, "Not Found", "not_found"),
        ("/admin/nonsense/", "testserver", 404, "Not Found", "not_found"),
        ("/admin/audit/auditevent/", "testserver", 403, "Forbidden", "permission_denied"),
        ("/admin/", "evil.example", 400, "Bad Request", "bad_request"),
    ],
)
def test_a_browser_gets_a_page_and_a_program_a_problem(
    client: Client, path: str, host: str, status: int, title: str, code: str
) -> None:
    signed_in(client)
    page = client.get(path, headers={"Accept": BROWSER, "Host": host})
    assert (page.status_code, page["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert f"<h1>{title}</h1>" in page.content.decode()
    assert "casproject/favicon.svg" in page.content.decode()
    for accept in ("*/*", "application/json", "application/problem+json, text/html"):
        answer = client.get(path, headers={"Accept": accept, "Host": host})
        assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
        assert answer.json()["code"] == code
        assert answer.json()["detail"] in page.content.decode()


@pytest.mark.parametrize("path", ["/artifacts/a/b", "/download/", "/uploads/a/b", "/api/nonsense/"])
def test_programs_addresses_have_no_pages(client: Client, path: str) -> None:
    answer = client.get(path, headers={"Accept": BROWSER})
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")


def test_a_page_that_fails_is_told_of_without_the_database(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    signed_in(client, is_superuser=True)
    monkeypatch.setattr("django.contrib.sessions.backends.db.SessionStore.load", fail)
    answer = client.get("/admin/", headers={"Accept": BROWSER})
    assert (answer.status_code, answer["Content-Type"]) == (500, "text/html; charset=utf-8")
    assert "<h1>Internal Server Error</h1>" in answer.content.decode()
    assert "secret detail" not in answer.content.decode()
