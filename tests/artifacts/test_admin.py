"""Locations and artifacts in the admin."""

import json
import re
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from artifacts import location_use
from artifacts.admin.artifact_list import NewestPaginator
from artifacts.admin.artifacts import ArtifactAdmin
from artifacts.models import Artifact, Location, Scrub
from artifacts.signals import person_acted
from artifacts.storage.filesystem import INCOMING
from tests.factories import digest_of

pytestmark = pytest.mark.django_db

LOCATIONS = reverse("admin:artifacts_location_changelist")
ADD = reverse("admin:artifacts_location_add")
ARTIFACTS = reverse("admin:artifacts_artifact_changelist")
SCRUBS = reverse("admin:artifacts_scrub_changelist")

SECRET = "swordfish-4711"


def page_of(row: Location | Artifact | Scrub, name: str = "change") -> str:
    return reverse(f"admin:artifacts_{row._meta.model_name}_{name}", args=[row.pk])


def form(location: Location | None = None, **values: str) -> dict[str, str]:
    """What the browser would send of a location's form, unless `values` overrule it."""
    if location is None:
        return {"name": "new", "backend": "FILESYSTEM", "options": '{"location": "/srv"}', **values}
    return {"name": location.name, "backend": location.backend, "options": json.dumps(location.options), **values}


def errors(answer: Any) -> dict[str, Any]:
    """The errors of a form that came back."""
    assert answer.status_code == 200
    found: dict[str, Any] = answer.context["adminform"].form.errors
    return found


def log_in(*permissions: str) -> Client:
    user = User.objects.create_user(f"staff-{'-'.join(permissions)}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def make_artifact(location: Location, content: bytes = b"content", **values: Any) -> Artifact:
    return Artifact.objects.create(
        **{
            "location": location,
            "digest": digest_of(content).hex,
            "size_bytes": len(content),
            "file_name": "content.txt",
            **values,
        }
    )


@pytest.fixture
def admin_client() -> Client:
    """Logged in as a superuser; pytest-django's own spends its time hashing a password."""
    client = Client()
    client.force_login(User.objects.create_user("admin", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def secured(location: Location) -> Location:
    """A location that has credentials."""
    location.backend, location.options = "AWS-S3", {"bucket_name": "b"}
    location.credentials = {"secret_key": SECRET}
    location.save()
    return location


# Who may do what


def test_superuser_and_viewers_see_locations_and_artifacts(admin_client: Client, location: Location) -> None:
    artifact = make_artifact(location)
    for client in (admin_client, log_in("view_location", "view_artifact")):
        for url in (LOCATIONS, page_of(location), ARTIFACTS, page_of(artifact)):
            assert client.get(url).status_code == 200


def test_staff_without_permission_are_refused(location: Location) -> None:
    client = log_in("view_auditevent")
    for url in (LOCATIONS, page_of(location), ADD, ARTIFACTS, page_of(make_artifact(location))):
        assert client.get(url).status_code == 403
    assert client.post(page_of(location, "test")).status_code == 403


def test_nobody_adds_changes_or_deletes_an_artifact(admin_client: Client, location: Location) -> None:
    artifact = make_artifact(location)
    for method in (admin_client.get, admin_client.post):
        assert method(reverse("admin:artifacts_artifact_add")).status_code == 403
        assert method(page_of(artifact, "delete"), {"post": "yes"}).status_code == 403
    assert admin_client.post(page_of(artifact), {"file_name": "other"}).status_code == 403
    admin_client.post(ARTIFACTS, {"action": "delete_selected", "_selected_action": [artifact.pk], "post": "yes"})
    assert Artifact.objects.get().file_name == "content.txt"


def test_location_with_artifacts_is_not_deleted(admin_client: Client, location: Location) -> None:
    make_artifact(location)
    chosen = {"action": "delete_selected", "_selected_action": [location.pk], "post": "yes"}
    for answer in (
        admin_client.post(page_of(location, "delete"), {"post": "yes"}),
        admin_client.post(LOCATIONS, chosen),
    ):
        assert "<li>The artifacts of FILESYSTEM/default</li>" in answer.content.decode()
    assert Location.objects.exists()


def test_empty_location_is_deleted(admin_client: Client, location: Location) -> None:
    assert admin_client.post(page_of(location, "delete"), {"post": "yes"}).status_code == 302
    assert not Location.objects.exists()


# The location's form


def test_location_is_added(admin_client: Client) -> None:
    organization = uuid.uuid4()
    answer = admin_client.post(ADD, form(organization=str(organization)))
    assert answer.status_code == 302
    location = Location.objects.get()
    assert (location.name, location.backend) == ("new", "FILESYSTEM")
    assert (location.options, location.organization) == ({"location": "/srv"}, organization)
    assert location.encrypted_credentials == ""


def test_backends_are_offered_and_those_of_the_settings_too(admin_client: Client, settings: Settings) -> None:
    settings.CAS_STORAGE_BACKENDS = {"Memory": "django.core.files.storage.InMemoryStorage"}
    page = admin_client.get(ADD).content.decode()
    for name in ("AWS-S3", "AzureBlob", "FILESYSTEM", "GCS", "Memory"):
        assert f'<option value="{name}">{name}</option>' in page
    assert admin_client.post(ADD, form(backend="Memory", options="")).status_code == 302
    assert Location.objects.get().options == {}


def test_a_backend_that_is_gone_is_not_silently_replaced(admin_client: Client, location: Location) -> None:
    Location.objects.update(backend="Gone")
    location.refresh_from_db()
    assert '<option value="Gone" selected>' in admin_client.get(page_of(location)).content.decode()
    assert "Unknown backend" in str(errors(admin_client.post(page_of(location), form(location)))["backend"])


def test_options_are_shown_indented(admin_client: Client, location: Location) -> None:
    location.options = {"n": 1, "location": "/srv/ü"}  # in the order in which PostgreSQL keeps them
    location.save()
    shown = admin_client.get(page_of(location)).context["adminform"].form["options"].value()
    assert shown == '{\n  "n": 1,\n  "location": "/srv/ü"\n}'


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("{", "Enter a valid JSON."),
        ("[1]", "This must be a JSON object."),
        ('"text"', "This must be a JSON object."),
        ("5", "This must be a JSON object."),
        ("", "FILESYSTEM needs: location."),
        ("null", "FILESYSTEM needs: location."),
        ("{}", "FILESYSTEM needs: location."),
        ('{"root": "/srv"}', "FILESYSTEM needs: location."),
    ],
)
def test_wrong_options_are_an_error_of_the_form(admin_client: Client, options: str, message: str) -> None:
    assert message in errors(admin_client.post(ADD, form(options=options)))["options"]
    assert not Location.objects.exists()


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"options": '{"location": "/nonexistent/xx"}'}, "The folder /nonexistent/xx does not exist"),
        ({"options": '{"location": "/etc/hostname"}'}, "The folder /etc/hostname does not exist"),
        ({"options": '{"location": "/srv", "colour": 1}'}, "unexpected keyword argument 'colour'"),
        ({"options": '{"location": "/srv", "read_timeout": 1}'}, "has no read_timeout"),
        ({"backend": "AWS-S3", "options": '{"bucket_name": "b", "foo": 1}'}, "Invalid setting 'foo'"),
        ({"backend": "AzureBlob", "options": '{"azure_container": "b", "foo": 1}'}, "Invalid setting 'foo'"),
        ({"backend": "GCS", "options": '{"bucket_name": "b", "foo": 1}'}, "Invalid setting 'foo'"),
    ],
)
def test_what_the_storage_does_not_take_is_an_error_of_the_form(
    admin_client: Client, values: dict[str, str], complaint: str
) -> None:
    assert complaint in str(errors(admin_client.post(ADD, {**form(), **values}))["options"].as_data())
    assert not Location.objects.exists()


def test_credentials_that_the_storage_does_not_take_are_named_and_not_repeated(admin_client: Client) -> None:
    entered = json.dumps({"access_key": SECRET, "session_profile": "p"})
    values = form(backend="AWS-S3", options='{"bucket_name": "b"}', new_credentials=entered)
    answer = admin_client.post(ADD, values)
    assert "should not be provided with" in str(errors(answer)["options"])
    assert SECRET not in answer.content.decode()


def test_new_settings_are_said_to_be_untried(admin_client: Client, location: Location) -> None:
    def said(**values: str) -> str:
        answer = admin_client.post(page_of(location), form(location, **values), follow=True)
        return " ".join(str(message) for message in answer.context["messages"])

    assert "Test this location" not in said(quota_bytes="5GB")
    assert "FILESYSTEM/default was not tried with these settings yet" in said(options='{"location": "/srv"}')


def test_an_empty_form_has_empty_options(admin_client: Client) -> None:
    assert admin_client.get(ADD).context["adminform"].form["options"].value() == "{}"


def test_options_that_are_no_json_come_back_as_typed(admin_client: Client) -> None:
    answer = admin_client.post(ADD, form(options='{"location": '))
    assert answer.context["adminform"].form["options"].value() == '{"location": '


def test_two_locations_of_one_name_are_an_error_of_the_form(admin_client: Client, location: Location) -> None:
    assert errors(admin_client.post(ADD, form(location)))
    assert Location.objects.count() == 1


def test_renaming_warns_once_there_are_artifacts(admin_client: Client, location: Location) -> None:
    warning = "tokens that use the old one find nothing"
    assert warning not in admin_client.get(page_of(location)).content.decode()
    make_artifact(location)
    assert admin_client.get(page_of(location)).content.decode().count(warning) == 2


# Credentials


def test_credentials_are_encrypted_in_the_database(admin_client: Client) -> None:
    bucket = form(backend="AWS-S3", options='{"bucket_name": "b"}')
    admin_client.post(ADD, {**bucket, "new_credentials": json.dumps({"secret_key": SECRET})})
    location = Location.objects.get()
    assert location.credentials == {"secret_key": SECRET}
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM artifacts_location")
        rows = str(cursor.fetchall())
    assert SECRET not in rows
    assert "secret_key" not in rows
    assert SECRET not in str(LogEntry.objects.values_list())


def test_credentials_are_never_in_a_response(admin_client: Client, secured: Location) -> None:
    viewer = log_in("view_location")
    pages = [
        admin_client.get(LOCATIONS),
        admin_client.get(page_of(secured)),
        admin_client.get(page_of(secured, "history")),
        admin_client.get(page_of(secured, "delete")),
        viewer.get(LOCATIONS),
        viewer.get(page_of(secured)),
    ]
    for page in pages:
        assert page.status_code == 200
        assert SECRET not in page.content.decode()
        assert secured.encrypted_credentials not in page.content.decode()


@pytest.mark.parametrize("wrong", [{"name": ""}, {"options": "{"}, {"remove_credentials": "on"}])
def test_entered_credentials_do_not_come_back_with_an_error(
    admin_client: Client, secured: Location, wrong: dict[str, str]
) -> None:
    entered = '{"secret_key": "just-typed"}'
    answer = admin_client.post(page_of(secured), form(secured, new_credentials=entered, **wrong))
    assert errors(answer)
    assert "just-typed" not in answer.content.decode()
    secured.refresh_from_db()
    assert secured.credentials == {"secret_key": SECRET}


def test_form_says_whether_credentials_are_set(admin_client: Client, location: Location) -> None:
    page = admin_client.get(page_of(location)).content.decode()
    assert "None are set." in page
    assert 'name="remove_credentials"' not in page
    location.credentials = {"secret_key": SECRET}
    location.save()
    page = admin_client.get(page_of(location)).content.decode()
    assert "Credentials are set; leave this blank to keep them." in page
    assert 'name="remove_credentials"' in page


def test_viewers_learn_only_that_credentials_are_set(secured: Location) -> None:
    page = log_in("view_location").get(page_of(secured)).content.decode()
    assert re.search(r"Credentials set.*?alt=\"True\"", page, re.DOTALL)
    assert "new_credentials" not in page


def test_blank_keeps_credentials(admin_client: Client, secured: Location) -> None:
    before = secured.encrypted_credentials
    assert admin_client.post(page_of(secured), form(secured, name="renamed", new_credentials="")).status_code == 302
    secured.refresh_from_db()
    assert (secured.name, secured.encrypted_credentials) == ("renamed", before)


def test_new_credentials_replace_the_old(admin_client: Client, secured: Location) -> None:
    admin_client.post(page_of(secured), form(secured, new_credentials='{"security_token": "t"}'))
    secured.refresh_from_db()
    assert secured.credentials == {"security_token": "t"}


def test_credentials_are_removed_when_asked(admin_client: Client, secured: Location) -> None:
    admin_client.post(page_of(secured), form(secured, remove_credentials="on"))
    secured.refresh_from_db()
    assert secured.encrypted_credentials == ""


@pytest.mark.parametrize("entered", ["{", "[]", "[1]", "5", '"text"', "{}", "false"])
def test_credentials_that_are_no_object_are_an_error_of_the_form(
    admin_client: Client, secured: Location, entered: str
) -> None:
    assert "new_credentials" in errors(admin_client.post(page_of(secured), form(secured, new_credentials=entered)))
    secured.refresh_from_db()
    assert secured.credentials == {"secret_key": SECRET}


def test_credentials_without_a_key_are_an_error_of_the_form(admin_client: Client, settings: Settings) -> None:
    settings.CAS_CREDENTIAL_KEYS = []
    found = errors(admin_client.post(ADD, form(new_credentials='{"token": "t"}')))
    assert found["new_credentials"] == ["CAS_CREDENTIAL_KEYS is empty; location credentials need a key."]
    assert not Location.objects.exists()


def test_location_is_edited_though_its_credentials_cannot_be_read(
    admin_client: Client, secured: Location, settings: Settings
) -> None:
    settings.CAS_CREDENTIAL_KEYS = []
    assert admin_client.get(page_of(secured)).status_code == 200
    assert admin_client.post(page_of(secured), form(secured, name="renamed")).status_code == 302


# Testing a location


def try_out(client: Client, location: Location) -> tuple[str, str]:
    """Press the button; the message's kind and text."""
    answer = client.post(page_of(location, "test"), follow=True)
    assert answer.redirect_chain == [(page_of(location), 302)]
    (message,) = answer.context["messages"]
    return message.level_tag, str(message)


def test_a_location_that_works_passes_and_nothing_of_the_test_remains(
    admin_client: Client, location: Location, root: Path
) -> None:
    assert try_out(admin_client, location) == (
        "success",
        "FILESYSTEM/default works: an artifact was written, read back and deleted.",
    )
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_a_missing_folder_fails_the_test(admin_client: Client, location: Location, root: Path) -> None:
    root.rmdir()
    assert try_out(admin_client, location) == (
        "error",
        "FILESYSTEM/default failed its test. The location's folder does not exist.",
    )


def test_a_failed_test_tells_what_the_storage_said(admin_client: Client, location: Location, root: Path) -> None:
    (root / INCOMING).write_text("a file where a folder should be")
    kind, text = try_out(admin_client, location)
    assert kind == "error"
    assert "NotADirectoryError: [Errno 20] Not a directory" in text


def test_wrong_settings_fail_the_test(admin_client: Client, location: Location) -> None:
    location.options["colour"] = "blue"
    location.save()
    kind, text = try_out(admin_client, location)
    assert kind == "error"
    assert "unexpected keyword argument 'colour'" in text


def test_a_failed_test_does_not_repeat_credentials(admin_client: Client, location: Location) -> None:
    location.options = {"bucket_name": "b"}
    location.backend = "AWS-S3"
    # boto3 refuses such an address and repeats it.
    location.credentials = {"client_config": None, "endpoint_url": f"no address, but {SECRET}"}
    location.save()
    kind, text = try_out(admin_client, location)
    assert kind == "error"
    assert "Invalid endpoint: …" in text
    assert SECRET not in text


def test_what_is_too_short_for_a_secret_stays_in_the_text(admin_client: Client, location: Location) -> None:
    location.credentials = {"secret_key": "a"}
    location.save()
    _, text = try_out(admin_client, location)
    assert "The location's settings are wrong." in text
    assert "unexpected keyword argument 'secret_key'" in text


@pytest.mark.parametrize("keys", [[], ["x" * 43 + "="]])
def test_unreadable_credentials_fail_the_test(
    admin_client: Client, secured: Location, settings: Settings, keys: list[str]
) -> None:
    settings.CAS_CREDENTIAL_KEYS = keys
    kind, text = try_out(admin_client, secured)
    assert kind == "error"
    assert "CAS_CREDENTIAL_KEYS is empty" in text if not keys else text.endswith("CredentialsUnreadable")


def test_selected_locations_are_try_out(admin_client: Client, location: Location) -> None:
    broken = Location.objects.create(name="broken", backend="FILESYSTEM", options={"location": "/nonexistent"})
    answer = admin_client.post(
        LOCATIONS, {"action": "test_locations", "_selected_action": [location.pk, broken.pk]}, follow=True
    )
    assert sorted(message.level_tag for message in answer.context["messages"]) == ["error", "success"]


def test_testing_needs_the_permission_to_change(location: Location, root: Path) -> None:
    viewer = log_in("view_location")
    assert viewer.post(page_of(location, "test")).status_code == 403
    assert "Test this location" not in viewer.get(page_of(location)).content.decode()
    viewer.post(LOCATIONS, {"action": "test_locations", "_selected_action": [location.pk]})
    assert list(root.iterdir()) == []


def test_testing_is_never_done_by_a_link(admin_client: Client, location: Location, root: Path) -> None:
    assert admin_client.get(page_of(location, "test")).status_code == 405
    assert list(root.iterdir()) == []


def test_testing_needs_a_csrf_token(admin_client: Client, location: Location, root: Path) -> None:
    client = Client(enforce_csrf_checks=True)
    client.cookies = admin_client.cookies
    assert client.post(page_of(location, "test")).status_code == 403
    assert list(root.iterdir()) == []


def test_testing_a_location_that_is_gone_says_so(admin_client: Client) -> None:
    answer = admin_client.post(reverse("admin:artifacts_location_test", args=[4711]), follow=True)
    assert answer.status_code == 200
    assert "Perhaps it was deleted?" in str(next(iter(answer.context["messages"])))


# Artifacts


def listed(client: Client, **query: str) -> list[Artifact]:
    answer = client.get(ARTIFACTS, query)
    assert answer.status_code == 200
    return list(answer.context["cl"].result_list)


def test_artifacts_are_searched_by_digest_or_file_name(admin_client: Client, location: Location) -> None:
    artifact = make_artifact(location, file_name="The Needle.txt")
    make_artifact(location, b"other", file_name="other.txt")
    for term in (str(artifact), artifact.digest, artifact.digest[:9], f"SHA256:{artifact.digest[:9]}", "needle"):
        assert listed(admin_client, q=term) == [artifact]
    assert listed(admin_client, q=artifact.digest[1:12]) == []
    assert listed(admin_client, q="sha256:") == []


def test_artifacts_are_filtered_by_location_and_corruption(admin_client: Client, location: Location) -> None:
    other = Location.objects.create(name="other", backend="FILESYSTEM", options={"location": "/srv"})
    sound, corrupt = make_artifact(location), make_artifact(other, corrupt_at=timezone.now())
    assert listed(admin_client, location__id__exact=str(other.pk)) == [corrupt]
    assert listed(admin_client, state="corrupt") == [corrupt]
    assert listed(admin_client, state="unverified") == [sound]


def test_artifacts_are_counted_no_further_than_pages_go(
    admin_client: Client, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [make_artifact(location, bytes([number])) for number in range(3)]
    monkeypatch.setattr(NewestPaginator, "most", 3)
    assert "3 artifacts" in " ".join(admin_client.get(ARTIFACTS).content.decode().split())
    monkeypatch.setattr(NewestPaginator, "most", 2)
    monkeypatch.setattr(ArtifactAdmin, "list_per_page", 1)
    page = " ".join(admin_client.get(ARTIFACTS).content.decode().split())
    assert "The newest 2 artifacts; search or filter to find others" in page
    assert [listed(admin_client, p=number) for number in ("1", "2")] == [[made[2]], [made[1]]]


def test_a_corrupt_artifact_is_marked(admin_client: Client, location: Location) -> None:
    artifact = make_artifact(location)
    assert "cas-badge-corrupt" not in admin_client.get(ARTIFACTS).content.decode()
    Artifact.objects.update(corrupt_at=timezone.now())
    assert re.search(
        r'cas-badge-corrupt" title="found on [^"]+ UTC">corrupt<', admin_client.get(ARTIFACTS).content.decode()
    )
    artifact.refresh_from_db()
    assert artifact.corrupt_at
    assert f"{artifact.corrupt_at:%H:%M:%S.%f} UTC" in admin_client.get(page_of(artifact)).content.decode()


def test_an_artifact_leads_to_its_events(admin_client: Client, location: Location) -> None:
    artifact = make_artifact(location)
    link = f'href="{reverse("admin:audit_auditevent_changelist")}?q=sha256%3A{artifact.digest}"'
    for url in (ARTIFACTS, page_of(artifact)):
        assert link in admin_client.get(url).content.decode()


def test_who_may_not_see_events_is_not_led_to_them(location: Location) -> None:
    client = log_in("view_artifact")
    for url in (ARTIFACTS, page_of(make_artifact(location))):
        assert reverse("admin:audit_auditevent_changelist") not in client.get(url).content.decode()


def test_markup_and_overrides_in_a_file_name_are_text(admin_client: Client, location: Location) -> None:
    artifact = make_artifact(location, file_name="<script>\u202e'\"</script>")
    for url in (ARTIFACTS, page_of(artifact)):
        page = admin_client.get(url).content.decode()
        assert "&lt;script&gt;\\u202e&#x27;&quot;&lt;/script&gt;</bdi>" in page


def test_no_script_or_style_is_inline(admin_client: Client, location: Location) -> None:
    """A strict Content-Security-Policy must be able to hold."""
    for url in (LOCATIONS, page_of(location), ADD, ARTIFACTS, page_of(make_artifact(location))):
        page = admin_client.get(url).content.decode()
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=", page)


# States, scrubs, quotas


STATES = {
    "sound": {"verified_at": timezone.now()},
    "unverified": {},
    "corrupt": {"verified_at": timezone.now(), "corrupt_at": timezone.now()},
    "missing": {"verified_at": timezone.now(), "missing_at": timezone.now()},
}


@pytest.mark.parametrize("state", STATES)
def test_state_of_an_artifact_is_shown_and_filtered_by(admin_client: Client, location: Location, state: str) -> None:
    rows = {name: make_artifact(location, name.encode(), **values) for name, values in STATES.items()}
    assert listed(admin_client, state=state) == [rows[state]]
    page = admin_client.get(ARTIFACTS, {"state": state}).content.decode()
    assert page.count("cas-badge-") == 1
    assert f"cas-badge-{state}" in page
    assert f"cas-badge-{state}" in admin_client.get(page_of(rows[state])).content.decode()


def test_state_that_there_is_not_filters_nothing(admin_client: Client, location: Location) -> None:
    artifact = make_artifact(location)
    assert listed(admin_client, state="strange") == [artifact]


def test_scrubs_are_listed_and_nobody_changes_them(admin_client: Client, location: Location) -> None:
    done = Scrub.objects.create(location=location, finished_at=timezone.now(), corrupt=2, missing=1, checked=7)
    waiting = Scrub.objects.create(location=location, after="80" + "0" * 62)
    page = admin_client.get(SCRUBS).content.decode()
    assert "finished" in page
    assert "waiting, about 50%" in page
    assert "2 corrupt" in page
    assert "1 missing" in page
    for row in (done, waiting):
        assert admin_client.get(page_of(row)).status_code == 200
        assert admin_client.post(page_of(row), {"after": ""}).status_code == 403
        assert admin_client.post(page_of(row, "delete"), {"post": "yes"}).status_code == 403
    assert admin_client.get(reverse("admin:artifacts_scrub_add")).status_code == 403


def test_scrubs_go_with_their_location(admin_client: Client, location: Location) -> None:
    Scrub.objects.create(location=location)
    assert admin_client.post(page_of(location, "delete"), {"post": "yes"}).status_code == 302
    assert not Location.objects.exists()


def test_scrub_that_somebody_works_on_is_running(admin_client: Client, location: Location) -> None:
    Scrub.objects.create(location=location, leased_until=timezone.now() + timedelta(seconds=10))
    assert "running, about 0%" in admin_client.get(SCRUBS).content.decode()


def test_quota_and_its_use_are_shown(admin_client: Client, location: Location) -> None:
    assert "no quota" in admin_client.get(LOCATIONS).content.decode()
    make_artifact(location, size_bytes=13_000_000_000)
    answer = admin_client.post(page_of(location), form(location, quota_bytes="50GB"))
    assert answer.status_code == 302
    assert 'value="50000000000"' in admin_client.get(page_of(location)).content.decode()
    for url in (LOCATIONS, page_of(location)):
        page = admin_client.get(url).content.decode()
        assert "12.1 GiB of 46.6 GiB" in page
        assert '<meter min="0" max="50000000000" high="45000000000" value="13000000000">' in page


@pytest.mark.parametrize("size", ["-1", str(2**63), "much"])
def test_quota_that_is_none_is_an_error_of_its_field(admin_client: Client, location: Location, size: str) -> None:
    assert list(errors(admin_client.post(page_of(location), form(location, quota_bytes=size)))) == ["quota_bytes"]


def test_location_whose_folder_is_away_can_be_changed_otherwise(location: Location, root: Path) -> None:
    root.rmdir()
    location.quota_bytes = 5
    location.full_clean()
    location.options = {**location.options, "file_permissions_mode": 0o640}
    with pytest.raises(ValidationError, match="does not exist"):
        location.full_clean()


def test_relative_folder_is_an_error_of_the_options(admin_client: Client) -> None:
    assert list(errors(admin_client.post(ADD, form(options='{"location": "srv"}')))) == ["options"]


# What a location's page tells


def shown_at(client: Client, location: Location) -> str:
    return " ".join(client.get(page_of(location)).content.decode().split())


def test_location_page_tells_how_much_it_holds(admin_client: Client, location: Location) -> None:
    for content in (b"one", b"three"):
        make_artifact(location, content)
    make_artifact(location, b"gone", missing_at=timezone.now())
    assert "2 (8 B in all)" in shown_at(admin_client, location)


def test_not_more_artifacts_are_counted_than_soon_are(
    admin_client: Client, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(location_use, "MOST_COUNTED", 1)
    for content in (b"one", b"three"):
        make_artifact(location, content)
    assert "more than 1" in shown_at(admin_client, location)


def test_location_page_tells_what_the_last_scrub_found(admin_client: Client, location: Location) -> None:
    assert "never" in shown_at(admin_client, location)
    done = Scrub.objects.create(location=location, finished_at=timezone.now(), checked=7, checked_bytes=9000, missing=2)
    Scrub.objects.create(location=location)
    page = shown_at(admin_client, location)
    assert page_of(done) in page
    assert "read 7 artifacts" in page
    assert "2 missing" in page


def test_proof_of_possession_is_chosen_in_the_form(admin_client: Client, location: Location) -> None:
    assert admin_client.post(page_of(location), form(location, proof_of_possession="on")).status_code == 302
    location.refresh_from_db()
    assert location.proof_of_possession


def test_who_may_test_need_not_be_able_to_change(location: Location) -> None:
    client = log_in("view_location", "test_location")
    assert "Test this location" in shown_at(client, location)
    answer = client.post(page_of(location, "test"), follow=True)
    assert "works: an artifact was written" in answer.content.decode()
    assert "Test this location" not in shown_at(log_in("view_location"), location)


def test_who_may_change_may_not_therefore_test(location: Location) -> None:
    client = log_in("view_location", "change_location")
    assert client.post(page_of(location, "test")).status_code == 403


def test_a_test_is_told_with_its_outcome(admin_client: Client, location: Location) -> None:
    told: list[dict[str, Any]] = []

    def remember(**values: Any) -> None:
        told.append(values)

    person_acted.connect(remember)
    try:
        admin_client.post(page_of(location, "test"))
        location.options = {"location": "/dev/null/nothing"}
        location.save()
        admin_client.post(page_of(location, "test"))
    finally:
        person_acted.disconnect(remember)
    assert [(values["act"], values["subject"], values["details"]) for values in told] == [
        ("tested", location, {"works": True}),
        ("tested", location, {"works": False}),
    ]
