"""The trail in the admin: everyone who may see it can, and nobody can change it."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from audit import nudge
from audit.admin.events import AuditEventAdmin
from audit.events import Action
from audit.models import AuditEvent, State
from tests.factories import ORGANIZATION, digest_of, make_row

pytestmark = pytest.mark.django_db

LIST = reverse("admin:audit_auditevent_changelist")


def page_of(row: AuditEvent, name: str = "change") -> str:
    return reverse(f"admin:audit_auditevent_{name}", args=[row.pk])


def shown(client: Client, **query: str) -> list[AuditEvent]:
    """The rows of the list, from top to bottom."""
    answer = client.get(LIST, query)
    assert answer.status_code == 200
    return list(answer.context["cl"].result_list)


@pytest.fixture
def admin_client() -> Client:
    """Logged in as a superuser; pytest-django's own spends its time hashing a password."""
    client = Client()
    client.force_login(User.objects.create_user("admin", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def staff(client: Client) -> Client:
    """Logged in as staff who may view the trail, and do nothing else."""
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_auditevent"))
    client.force_login(user)
    return client


@pytest.fixture(params=["admin_client", "staff"])
def viewer(request: pytest.FixtureRequest) -> Client:
    """A superuser, then staff with the view permission."""
    client: Client = request.getfixturevalue(request.param)
    return client


def test_list_and_detail_can_be_seen_with_the_view_permission(viewer: Client) -> None:
    row = make_row(State.PUBLISHED)
    assert shown(viewer) == [row]
    assert viewer.get(page_of(row)).status_code == 200


def test_staff_without_the_permission_are_refused(client: Client) -> None:
    row = make_row()
    client.force_login(User.objects.create_user("other", is_staff=True))
    assert client.get(LIST).status_code == 403
    assert client.get(page_of(row)).status_code == 403


def test_users_who_are_not_staff_are_sent_to_the_login(client: Client) -> None:
    client.force_login(User.objects.create_user("nobody"))
    assert client.get(LIST).status_code == 302


@pytest.mark.parametrize("method", ["get", "post"])
def test_nobody_adds_an_event(viewer: Client, method: str) -> None:
    answer = getattr(viewer, method)(reverse("admin:audit_auditevent_add"), {"digest": "ab"})
    assert answer.status_code == 403
    assert not AuditEvent.objects.exists()


def test_nobody_changes_an_event(viewer: Client) -> None:
    row = make_row()
    assert viewer.post(page_of(row), {"file_name": "other", "_save": "Save"}).status_code == 403
    row.refresh_from_db()
    assert row.file_name == "content.txt"


@pytest.mark.parametrize("method", ["get", "post"])
def test_nobody_deletes_an_event(viewer: Client, method: str) -> None:
    row = make_row()
    assert getattr(viewer, method)(page_of(row, "delete"), {"post": "yes"}).status_code == 403
    assert AuditEvent.objects.count() == 1


def test_nothing_can_be_deleted_by_an_action_not_even_when_posted(viewer: Client) -> None:
    row = make_row()
    assert b"delete_selected" not in viewer.get(LIST).content
    viewer.post(LIST, {"action": "delete_selected", "_selected_action": [row.pk], "index": "0", "post": "yes"})
    assert AuditEvent.objects.count() == 1


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"skipped": True}, "yes"),
        ({}, "no"),
        ({"action": Action.DOWNLOADED}, "-"),
        ({"action": "CASUserSignedIn"}, "-"),
    ],
)
def test_only_uploads_are_skipped_or_not(admin_client: Client, values: dict[str, Any], word: str) -> None:
    page = admin_client.get(page_of(make_row(**values))).content.decode()
    found = re.search(r'class="form-row field-was_skipped">.*?<div class="readonly">([^<]*)</div>', page, re.DOTALL)
    assert found
    assert found[1] == word


def test_detail_offers_no_way_to_save_or_delete(admin_client: Client) -> None:
    page = admin_client.get(page_of(make_row())).content.decode()
    assert 'name="_save"' not in page
    assert "deletelink" not in page


def test_newest_come_first(admin_client: Client) -> None:
    late = make_row(timestamp_ns=2_000_000_000_000_000_000)
    early = make_row(timestamp_ns=1_000_000_000_000_000_000)
    assert shown(admin_client) == [late, early]


def test_time_is_in_utc_with_seconds(admin_client: Client) -> None:
    row = make_row(timestamp_ns=1_700_000_000_123_456_789)
    assert "2023-11-14 22:13:20<" in admin_client.get(LIST).content.decode()
    assert "2023-11-14 22:13:20.123456 UTC" in admin_client.get(page_of(row)).content.decode()


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({}, "uploaded"),
        ({"skipped": True}, "deduplicated"),
        ({"action": Action.DOWNLOADED}, "downloaded"),
    ],
)
def test_actions_are_named_in_plain_words(admin_client: Client, values: dict[str, Any], word: str) -> None:
    make_row(**values)
    assert f'<td class="field-what">{word}</td>' in admin_client.get(LIST).content.decode()


def test_columns_are_short_and_hold_the_whole_value(admin_client: Client) -> None:
    row = make_row(size_bytes=1_572_864)
    page = admin_client.get(LIST).content.decode()
    assert f'<code title="{ORGANIZATION}">1089bb36…</code>' in page
    assert f'<code title="sha256:{row.digest}">{row.digest[:10]}…</code>' in page
    assert f'data-copy="sha256:{row.digest}"' in page
    assert f'aria-label="Copy digest sha256:{row.digest[:12]}…"' in page
    assert '<span title="1572864 bytes">1.5 MiB</span>' in page


@pytest.mark.parametrize("state", State)
def test_state_is_a_badge_with_text(admin_client: Client, state: State) -> None:
    make_row(state)
    assert re.search(
        rf'class="cas-badge cas-badge-{state}" title="[^"]+">{state}<', admin_client.get(LIST).content.decode()
    )


# Search


@pytest.fixture
def needle() -> AuditEvent:
    """One event among others."""
    make_row(digest=digest_of(b"other").hex, file_name="other.txt")
    return make_row(digest=digest_of(b"needle").hex, file_name="The Needle.tar.gz")


@pytest.mark.parametrize("digits", [64, 12, 4])
@pytest.mark.parametrize("prefix", ["sha256:", ""])
def test_search_finds_a_digest_by_its_start(admin_client: Client, needle: AuditEvent, prefix: str, digits: int) -> None:
    assert shown(admin_client, q=f"{prefix}{needle.digest[:digits]}") == [needle]
    assert shown(admin_client, q=f" {prefix}{needle.digest[:digits]} ".upper()) == [needle]


def test_search_finds_no_digest_by_its_middle(admin_client: Client, needle: AuditEvent) -> None:
    assert shown(admin_client, q=f"sha256:{needle.digest[1:13]}") == []


@pytest.mark.parametrize("term", ["needle", "NEEDLE.tar", "tar needle", '"the needle"'])
def test_search_finds_part_of_a_file_name(admin_client: Client, needle: AuditEvent, term: str) -> None:
    assert shown(admin_client, q=term) == [needle]


@pytest.mark.parametrize("term", ["20240131", "cafe"])
def test_search_finds_a_file_name_that_could_be_a_digest(admin_client: Client, needle: AuditEvent, term: str) -> None:
    row = make_row(file_name=f"backup-{term}.tar")
    assert shown(admin_client, q=term) == [row]


@pytest.mark.parametrize("term", ["sha256:", "%", "_", "\\", "sha256:zz", "a" * 5000])
def test_search_for_nonsense_finds_nothing(admin_client: Client, needle: AuditEvent, term: str) -> None:
    assert shown(admin_client, q=term) == []


# Filters


def test_filters_narrow_the_list(admin_client: Client) -> None:
    upload = make_row(State.PUBLISHED)
    skipped = make_row(State.PENDING, skipped=True)
    long_ago = (timezone.now() - timedelta(days=800)).timestamp()
    download = make_row(State.FAILED, action=Action.DOWNLOADED, timestamp_ns=int(long_ago * 1e9))
    assert shown(admin_client, action="downloaded") == [download]
    assert shown(admin_client, action=Action.UPLOADED) == [skipped, upload]
    assert shown(admin_client, skipped="true") == [skipped]
    assert shown(admin_client, state="failed") == [download]
    assert shown(admin_client, period="30d") == [skipped, upload]
    assert shown(admin_client, period="30d", state="failed") == []


def test_the_whole_trail_is_not_counted() -> None:
    assert AuditEventAdmin.show_full_result_count is False


# Detail


def test_detail_tells_of_the_delivery(admin_client: Client) -> None:
    row = make_row(State.PUBLISHED)
    AuditEvent.objects.filter(pk=row.pk).update(
        attempts=3, last_error="no response from stream", stream_sequence=4711, published_at=row.occurred_at
    )
    page = admin_client.get(page_of(row)).content.decode()
    assert ">no response from stream</bdi>" in page
    for value in ("4711", "audit.casartifact.casartifactuploaded", str(row.event_id)):
        assert f'<div class="readonly">{value}</div>' in page
    assert ">3</div>" in page


def test_only_pending_events_have_a_next_try(admin_client: Client) -> None:
    pending, failed = make_row(State.PENDING), make_row(State.FAILED)
    due = f"{pending.due_at:%Y-%m-%d %H:%M:%S.%f} UTC"
    assert f'<div class="readonly">{due}</div>' in admin_client.get(page_of(pending)).content.decode()
    assert f"{failed.due_at:%H:%M:%S.%f}" not in admin_client.get(page_of(failed)).content.decode()


def test_detail_shows_the_payload_as_published_and_indented(admin_client: Client) -> None:
    row = make_row(file_name="a.txt")
    page = admin_client.get(page_of(row)).content.decode()
    exact, readable = (unescape(pre) for pre in re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL))
    assert exact.strip() == row.payload
    assert '\n      "file_name": "a.txt",\n' in readable


def test_copying_the_payload_yields_its_exact_characters(admin_client: Client) -> None:
    row = make_row(file_name='a\u200f"<b>&\u2028.txt')
    copies = re.findall(r'data-copy="([^"]*)"', admin_client.get(page_of(row)).content.decode())
    assert row.payload in map(unescape, copies)


def test_a_payload_that_is_no_json_is_still_shown(admin_client: Client) -> None:
    row = make_row()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE audit_auditevent SET payload = 'tampered' WHERE id = %s", [row.pk])
    assert admin_client.get(page_of(row)).content.decode().count("tampered\n</pre>") == 2


def test_detail_leads_to_all_events_of_the_artifact(admin_client: Client) -> None:
    row = make_row()
    assert f'href="{LIST}?digest=sha256:{row.digest}"' in admin_client.get(page_of(row)).content.decode()


# Hostile file names


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "\"><img src=x onerror='x'>", "a'b&c", "{{ x }}{% x %}"])
def test_markup_in_a_file_name_is_text(admin_client: Client, name: str) -> None:
    row = make_row(file_name=name)
    for url in (LIST, page_of(row)):
        page = admin_client.get(url).content.decode()
        if "<" in name:
            assert name not in page
        assert name in unescape(page)


@pytest.mark.parametrize(
    ("char", "escape"),
    [
        ("\u202e", "\\u202e"),
        ("\u2066", "\\u2066"),
        ("\u200f", "\\u200f"),
        ("\u2028", "\\u2028"),
        ("\x1b", "\\u001b"),
        ("\n", "\\n"),
        ("\ufeff", "\\ufeff"),
        ("\U000e0041", "\\udb40\\udc41"),
    ],
)
def test_invisible_characters_are_shown_escaped(admin_client: Client, char: str, escape: str) -> None:
    row = make_row(file_name=f"evil{char}exe.txt")
    for url in (LIST, page_of(row)):
        page = re.sub(r'data-copy="[^"]*"', "", admin_client.get(url).content.decode())
        assert f"evil{char}exe" not in page
        assert f"evil{escape}exe.txt</bdi>" in page


@pytest.mark.parametrize("name", ["результаты.xml", "容器.tar", "👩\u200d💻.png"])
def test_letters_of_every_script_are_shown_as_they_are(admin_client: Client, name: str) -> None:
    make_row(file_name=name)
    assert f"{name}</bdi>" in admin_client.get(LIST).content.decode()


def test_no_script_or_style_is_inline(admin_client: Client) -> None:
    """A strict Content-Security-Policy must be able to hold."""
    row = make_row()
    for url in (reverse("admin:index"), LIST, page_of(row)):
        page = admin_client.get(url).content.decode()
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=", page)


def test_pages_are_branded_and_name_their_icon(client: Client) -> None:
    page = client.get(reverse("admin:login")).content.decode()
    assert "<title>Log in | Artifact CAS</title>" in page
    assert ">Artifact CAS</a>" in page
    icon = re.search(r'<link rel="icon"[^>]* href="([^"]+)"', page)
    assert icon
    answer = client.get(icon[1])
    assert answer.status_code == 200
    assert answer["Content-Type"] == "image/svg+xml"
    answer.close()


def retry(client: Client, *rows: AuditEvent) -> list[str]:
    """Run the action on these rows; returns the messages that are shown."""
    chosen = {"action": "retry_failed", "_selected_action": [str(row.pk) for row in rows]}
    answer = client.post(LIST, chosen, follow=True)
    return [str(message) for message in answer.context["messages"]]


def test_failed_events_are_sent_again_from_the_list(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    nudges: list[None] = []
    monkeypatch.setattr(nudge, "wake", lambda: nudges.append(None))
    chosen, other = make_row(State.FAILED), make_row(State.FAILED)
    AuditEvent.objects.update(due_at=timezone.now() + timedelta(hours=1))
    published = make_row(State.PUBLISHED)
    assert retry(admin_client, chosen, published) == ["Events that are pending again: 1."]
    assert nudges == [None]
    states = dict(AuditEvent.objects.exclude(action="CASAuditEventsRetried").values_list("pk", "state"))
    assert states == {chosen.pk: "pending", other.pk: "failed", published.pk: "published"}
    assert AuditEvent.objects.get(pk=chosen.pk).due_at <= timezone.now()


def test_retry_of_what_did_not_fail_says_that_there_is_nothing_to_do(admin_client: Client) -> None:
    row = make_row(State.LOCAL)
    assert retry(admin_client, row) == ["None of these events failed: there is nothing to do."]
    assert AuditEvent.objects.get().state == "local"


def test_retry_needs_a_permission_of_its_own(staff: Client) -> None:
    row = make_row(State.FAILED)
    assert "retry_failed" not in staff.get(LIST).content.decode()
    retry(staff, row)
    assert AuditEvent.objects.get().state == "failed"
    user = User.objects.get(username="viewer")
    content_type = ContentType.objects.get_for_model(AuditEvent)
    permission, _ = Permission.objects.get_or_create(codename="retry_auditevent", content_type=content_type)
    user.user_permissions.add(permission)
    assert "retry_failed" in staff.get(LIST).content.decode()
    retry(staff, row)
    assert AuditEvent.objects.get(pk=row.pk).state == "pending"
