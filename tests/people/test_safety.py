"""What pages let a browser do, and what others wrote, shown without harm on every page there is."""

import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import NoReverseMatch, reverse

from artifacts.models import Artifact, Location
from audit.event_filters import EventFilter
from audit.export import COLUMNS, pieces
from audit.models import AuditEvent, Organization, State
from tests.factories import digest_of, make_row

pytestmark = pytest.mark.django_db

MARK = "zq7x"
HOSTILE = [
    f"<script>{MARK}()</script>",
    f'"><img src=x onerror={MARK}()>',
    f"';{MARK}();//",
    f"{{{{ {MARK} }}}}{{% {MARK} %}}",
    f"=HYPERLINK({MARK})",
]
INVISIBLE = "a\u202eb\u2066c\u200fd\x1be\u2028f"


@pytest.fixture
def root(client: Client) -> Client:
    client.force_login(User.objects.create_user("root", is_staff=True, is_superuser=True))
    return client


def test_pages_may_load_what_is_ours_alone(root: Client) -> None:
    for url in ("/admin/", "/admin/audit/auditevent/", "/admin/login/"):
        answer = root.get(url)
        policy = dict(part.split(" ", 1) for part in answer["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert {policy[name] for name in ("script-src", "style-src", "connect-src", "form-action")} == {"'self'"}
        assert answer["X-Frame-Options"] == "DENY"
        assert answer["Referrer-Policy"] == "same-origin"
        assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer["X-Content-Type-Options"] == "nosniff"


def test_cookies_are_for_us_alone(client: Client) -> None:
    User.objects.create_user("ada", password="secret-enough", is_staff=True)
    client.post("/admin/login/", {"username": "ada", "password": "secret-enough"})
    cookie = client.cookies["sessionid"]
    assert (cookie["httponly"], cookie["samesite"], cookie["secure"]) == (True, "Lax", True)
    assert cookie["max-age"] == 12 * 3600


def test_django_finds_nothing_to_say_about_a_production_environment(tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("CAS_", "NATS_", "CELERY_"))},
        "DJANGO_SETTINGS_MODULE": "casproject.settings",
        "CAS_DATA_DIR": str(tmp_path),
        "CAS_SECRET_KEY": "o8Vd1qYw3zR5tK7mN9pX2cF4hJ6lB8sA0gE-uI_yT.o8Vd1qYw3zR5tK7mN9pX2",
        "CAS_TOKEN_KEYS": django_settings.CAS_TOKEN_KEYS[0],
        "CAS_CREDENTIAL_KEYS": django_settings.CAS_CREDENTIAL_KEYS[0],
        "CAS_ALLOWED_HOSTS": "cas.example.com",
        "CAS_CSRF_TRUSTED_ORIGINS": "https://cas.example.com",
        "CAS_BEHIND_PROXY": "true",
        "CAS_SSL_REDIRECT": "true",
        "CAS_HSTS_SECONDS": "31536000",
        "CAS_HSTS_SUBDOMAINS": "true",
    }
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    done = subprocess.run(
        command, env=environment, cwd=django_settings.BASE_DIR, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "no issues" in done.stdout


# What others wrote


def store_hostile_values() -> None:
    """Rows of every model that pages show, with all of it wherever a text is kept."""
    for number, text in enumerate([*HOSTILE, INVISIBLE]):
        organization = uuid.UUID(int=number + 1)
        Organization.objects.create(pk=organization, display_name=text)
        location = Location.objects.create(
            name=text, backend="FILESYSTEM", options={"location": "/nowhere"}, organization=organization
        )
        digest = digest_of(text.encode()).hex
        Artifact.objects.create(location=location, digest=digest, size_bytes=1, file_name=text)
        User.objects.create(username=text, email="a@example.com", first_name=text, last_name=text)
        row = make_row(
            State.FAILED, org_id=organization, digest=digest, file_name=text, location=text, backend=text[:50]
        )
        AuditEvent.objects.filter(pk=row.pk).update(last_error=text)
        mirrored = make_row(State.MIRRORED, org_id=organization)
        payload = json.dumps({"Data": {"ActorName": text, "TargetType": text, "Info": {"target_name": text}}})
        values = {"action": f"CASUserChanged{text}"[:100], "subject": f"audit.{text}", "payload": payload}
        with_raw_rights(mirrored.pk, values)


def with_raw_rights(pk: int, values: dict[str, str]) -> None:
    """As somebody's publisher made it: no code of ours writes such a row."""
    with connection.cursor() as cursor:
        for name, value in values.items():
            cursor.execute(f"UPDATE audit_auditevent SET {name} = %s WHERE id = %s", [value, pk])  # noqa: S608


def pages() -> list[str]:
    """The address of every page of the admin that can be looked at: of lists, rows and of what sites add."""
    found = [reverse(f"admin:{name}") for name in ("index", "password_change", "two_factor")]
    found += ["/admin/audit/auditevent/matching/"]
    for model in admin.site._registry:
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        found.append(reverse(f"admin:{name}_changelist"))
        for row in model._default_manager.all()[:20]:
            for kind in ("change", "delete", "history"):
                try:
                    found.append(reverse(f"admin:{name}_{kind}", args=[row.pk]))
                except NoReverseMatch:
                    continue
    return found


def test_nothing_that_others_wrote_runs_or_hides_on_any_page(root: Client) -> None:
    store_hostile_values()
    seen = 0
    for url in pages():
        answer = root.get(url)
        assert answer.status_code in {200, 302, 403}, url
        if answer.status_code != 200 or "text/html" not in answer["Content-Type"]:
            continue
        page = answer.content.decode()
        seen += MARK in page
        for text in HOSTILE[:2]:
            assert text not in page, url
        outside = re.sub(r'(data-copy|value)="[^"]*"|<textarea.*?</textarea>|<title>.*?</title>', "", page, flags=re.S)
        assert not re.search("[\u202e\u2066\u200f\x1b\u2028]", outside), url
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=[\"']", page), url
    assert seen > 20, "pages show what was stored"


def test_exports_run_in_no_spreadsheet(root: Client) -> None:
    store_hostile_values()
    text = b"".join(piece.content for piece in pieces(EventFilter(), "csv")).decode()
    assert "'=HYPERLINK" in text
    assert ",=HYPERLINK" not in text
    assert text.startswith(",".join(COLUMNS))
