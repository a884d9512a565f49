"""An artifact's page: whose events it shows to whom, and its bytes by hand."""

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from artifacts.admin import by_hand
from artifacts.admission import Slots
from artifacts.models import Artifact, Location, ResumableUpload, Scrub
from audit.events import Action
from audit.models import AuditEvent, Organization, OrganizationLimit, State
from casproject import artifact_history
from tests.factories import ORGANIZATION, digest_of, make_row, stored_at

pytestmark = pytest.mark.django_db

CONTENT = b"<script>alert(1)</script>"
OTHER = uuid.UUID("2d6b4a3e-0c2f-4f0e-9f39-3a4f1f6f0b11")
LIST = reverse("admin:artifacts_artifact_changelist")
EVERYTHING = ("view_artifact", "view_auditevent", "download_artifact", "test_location", "view_location", "view_scrub")


def page_of(artifact: Artifact, name: str = "change") -> str:
    return reverse(f"admin:artifacts_artifact_{name}", args=[artifact.pk])


def log_in(*permissions: str, organizations: list[uuid.UUID] | None = None) -> Client:
    user = User.objects.create_user(f"user-{uuid.uuid4()}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    if organizations is not None:
        limit = OrganizationLimit.objects.create(user=user)
        limit.organizations.set([Organization.objects.get_or_create(pk=pk)[0] for pk in organizations])
    client = Client()
    client.force_login(user)
    return client


def store(root: Path, location: Location, content: bytes = CONTENT, file_name: str = "page.html") -> Artifact:
    path = stored_at(root, content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return Artifact.objects.create(
        location=location, digest=digest_of(content).hex, size_bytes=len(content), file_name=file_name
    )


@pytest.fixture
def artifact(root: Path, location: Location) -> Artifact:
    return store(root, location)


def event(artifact: Artifact, **values: Any) -> AuditEvent:
    return make_row(State.LOCAL, **{"digest": artifact.digest, "size_bytes": artifact.size_bytes, **values})


def acts() -> list[tuple[str, dict[str, Any]]]:
    """(action, info) of what people did."""
    rows = AuditEvent.objects.exclude(action__in=list(Action)).order_by("id")
    return [(row.action, json.loads(row.payload)["Data"]["Info"]) for row in rows]


def text_of(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


class TestHistory:
    def test_who_stored_it_and_all_who_had_it_are_shown(self, artifact: Artifact) -> None:
        Organization.objects.create(pk=ORGANIZATION, display_name="Aurora <b>Robotics</b>\u202e")
        event(artifact, file_name="first.html")
        event(artifact, org_id=OTHER, skipped=True, file_name="second.html")
        event(artifact, org_id=OTHER, action=Action.DOWNLOADED)
        page = text_of(log_in(*EVERYTHING).get(page_of(artifact)))
        stored, _, table = page.partition("Stored by")[2].partition("<table>")
        assert r"Aurora &lt;b&gt;Robotics&lt;/b&gt;\u202e" in stored
        assert table.index("downloaded") < table.index("deduplicated") < table.index("uploaded")
        assert "<b>Robotics" not in page

    def test_events_of_other_digests_are_not(self, artifact: Artifact) -> None:
        event(artifact, digest=digest_of(b"other").hex, file_name="other.html")
        page = text_of(log_in(*EVERYTHING).get(page_of(artifact)))
        assert "other.html" not in page
        assert "No event that you may see tells who stored it." in page

    def test_without_permission_for_the_trail_there_is_none(self, artifact: Artifact) -> None:
        event(artifact, file_name="first.html")
        page = text_of(log_in("view_artifact").get(page_of(artifact)))
        assert "first.html" not in page
        assert "cas-history" not in page

    def test_a_popular_artifact_costs_three_queries(self, artifact: Artifact, django_assert_num_queries: Any) -> None:
        for _ in range(artifact_history.SHOWN + 5):
            event(artifact)
        admin = User.objects.create_superuser("admin")
        with django_assert_num_queries(3):
            history = artifact_history.of(artifact.digest, admin)
        assert len(history.entries) == artifact_history.SHOWN
        assert history.stored is not None
        assert history.stored.event == AuditEvent.objects.earliest("occurred_at", "id")


class TestLimits:
    def test_an_artifact_is_seen_by_whom_an_event_tells_of_it(self, artifact: Artifact, root: Path) -> None:
        event(artifact, file_name="ours.html")
        event(artifact, org_id=OTHER, file_name="theirs.html")
        stranger = store(root, artifact.location, b"strange", "strange.html")
        event(stranger, org_id=OTHER)
        client = log_in(*EVERYTHING, organizations=[ORGANIZATION])
        for query in ({}, {"q": artifact.digest}):
            assert list(client.get(LIST, query).context["cl"].result_list) == [artifact]
        for term in (stranger.digest, f"sha256:{stranger.digest[:8]}", "strange.html"):
            assert list(client.get(LIST, {"q": term}).context["cl"].result_list) == []
        page = text_of(client.get(page_of(artifact)))
        assert "ours.html" in page
        assert "theirs.html" not in page
        assert str(OTHER) not in page
        assert client.get(page_of(stranger)).status_code == 302  # as one that is not there
        assert client.get(page_of(stranger, "download")).status_code == 404
        assert client.post(page_of(stranger, "verify")).status_code == 404
        assert acts() == []

    @pytest.mark.parametrize(
        ("values", "status"),
        [
            ({}, 403),
            ({"organization": OTHER}, 403),
            ({"organization": ORGANIZATION}, 200),
            ({"proof_of_possession": True}, 200),
        ],
        ids=["shared", "theirs", "ours", "proved"],
    )
    def test_who_only_uploaded_what_was_there_sees_it_and_has_its_bytes_where_a_digest_is_not_enough(
        self, artifact: Artifact, values: dict[str, Any], status: int
    ) -> None:
        Location.objects.update(**values)
        event(artifact, skipped=True)
        client = log_in(*EVERYTHING, organizations=[ORGANIZATION])
        assert (page_of(artifact, "download") in text_of(client.get(page_of(artifact)))) is (status == 200)
        assert client.get(page_of(artifact, "download")).status_code == status

    def test_a_download_after_it_is_enough(self, artifact: Artifact) -> None:
        event(artifact, skipped=True)
        event(artifact, action=Action.DOWNLOADED)
        client = log_in(*EVERYTHING, organizations=[ORGANIZATION])
        assert client.get(page_of(artifact, "download")).status_code == 200

    def test_an_event_of_another_location_is_not_enough(self, artifact: Artifact) -> None:
        event(artifact, location="elsewhere")
        client = log_in(*EVERYTHING, organizations=[ORGANIZATION])
        assert list(client.get(LIST).context["cl"].result_list) == []

    def test_who_is_limited_to_none_sees_nothing(self, artifact: Artifact) -> None:
        event(artifact)
        client = log_in(*EVERYTHING, organizations=[])
        assert client.get(page_of(artifact)).status_code == 302

    def test_locations_of_others_their_scrubs_and_uploads_are_not_seen(self, location: Location) -> None:
        theirs = Location.objects.create(name="theirs", backend="FILESYSTEM", organization=OTHER)
        ours = Location.objects.create(name="ours", backend="FILESYSTEM", organization=ORGANIZATION)
        for place in (location, theirs, ours):
            Scrub.objects.create(location=place)
        for organization in (ORGANIZATION, OTHER):
            ResumableUpload.objects.create(
                location=ours, org_id=str(organization), length=1, expires_at=timezone.now(), result="0" * 64
            )
        client = log_in(*EVERYTHING, "view_resumableupload", organizations=[ORGANIZATION])

        def names(model: str) -> set[str]:
            rows = client.get(reverse(f"admin:artifacts_{model}_changelist")).context["cl"].result_list
            return {row.name if model == "location" else row.location.name for row in rows}

        assert names("location") == {"default", "ours"}
        assert names("scrub") == {"default", "ours"}
        uploads = client.get(reverse("admin:artifacts_resumableupload_changelist")).context["cl"].result_list
        assert [upload.org_id for upload in uploads] == [str(ORGANIZATION)]
        assert "theirs" not in client.get(LIST).content.decode()


def test_uploads_are_shown_with_utc_and_the_name_of_their_organization(location: Location) -> None:
    Organization.objects.create(pk=ORGANIZATION, display_name="Acme Rockets")
    time = datetime(2026, 3, 1, 15, 26, tzinfo=UTC)
    for organization in (str(ORGANIZATION), str(OTHER), "no UUID", ""):
        upload = ResumableUpload.objects.create(
            location=location, org_id=organization, length=1, expires_at=time, result="0" * 64, file_name="a.txt"
        )
        ResumableUpload.objects.filter(pk=upload.pk).update(created_at=time)
    client = log_in("view_resumableupload")
    page = client.get(reverse("admin:artifacts_resumableupload_changelist")).content.decode()
    assert page.count("2026-03-01 15:26:00</") == 8
    assert ">Acme Rockets</bdi>" in page
    assert f'<code title="{OTHER}">{str(OTHER)[:8]}…</code>' in page
    upload = ResumableUpload.objects.get(org_id=str(ORGANIZATION))
    page = client.get(reverse("admin:artifacts_resumableupload_change", args=[upload.pk])).content.decode()
    assert ">Acme Rockets</bdi>" in page
    assert "2026-03-01 15:26:00.000000 UTC" in page


class TestDownload:
    def test_bytes_come_as_an_attachment_that_no_browser_runs(self, artifact: Artifact) -> None:
        answer = log_in("view_artifact", "download_artifact").get(page_of(artifact, "download"))
        assert answer.getvalue() == CONTENT
        assert answer["Content-Type"] == "application/octet-stream"
        assert answer["Content-Disposition"] == 'attachment; filename="page.html"'
        assert answer["Content-Security-Policy"] == "sandbox"
        assert answer["X-Content-Type-Options"] == "nosniff"

    def test_it_is_in_the_trail_and_in_no_usage(self, artifact: Artifact) -> None:
        log_in("view_artifact", "download_artifact").get(page_of(artifact, "download"))
        [(action, info)] = acts()
        assert action == "CASArtifactDownloadedByHand"
        assert (info["digest"], info["size_bytes"]) == (artifact.digest, len(CONTENT))
        assert not AuditEvent.objects.filter(action=Action.DOWNLOADED).exists()

    def test_it_is_among_the_artifacts_events(self, artifact: Artifact) -> None:
        client = log_in(*EVERYTHING, "download_artifact")
        client.get(page_of(artifact, "download"))
        events = text_of(client.get(page_of(artifact))).partition("cas-history")[2]
        assert '<td>downloaded by hand</td> <td><bdi title="">user-' in events

    def test_a_large_one_is_recorded_when_all_of_it_is_verified(self, root: Path, location: Location) -> None:
        large = store(root, location, b"x" * 3_000_000)
        answer = log_in("view_artifact", "download_artifact").get(page_of(large, "download"))
        pieces = iter(answer)
        next(pieces)
        assert acts() == []
        assert sum(map(len, pieces)) < 3_000_000
        assert len(acts()) == 1

    def test_the_page_offers_it_to_those_who_may(self, artifact: Artifact) -> None:
        url = page_of(artifact, "download")
        assert url in log_in("view_artifact", "download_artifact").get(page_of(artifact)).content.decode()
        assert url not in log_in("view_artifact", "test_location").get(page_of(artifact)).content.decode()

    @pytest.mark.parametrize("permissions", [["view_artifact"], ["download_artifact"], []])
    def test_others_are_refused(self, artifact: Artifact, permissions: list[str]) -> None:
        assert log_in(*permissions).get(page_of(artifact, "download")).status_code == 403
        assert acts() == []

    def test_a_damaged_one_never_leaves(self, artifact: Artifact, root: Path) -> None:
        stored_at(root, CONTENT).write_bytes(b"x" * len(CONTENT))
        answer = log_in("view_artifact", "download_artifact").get(page_of(artifact, "download"), follow=True)
        assert "It cannot be downloaded." in answer.content.decode()
        artifact.refresh_from_db()
        assert artifact.corrupt_at is not None
        assert acts() == []

    def test_a_missing_one_is_said_to_be(self, artifact: Artifact, root: Path) -> None:
        stored_at(root, CONTENT).unlink()
        answer = log_in("view_artifact", "download_artifact").get(page_of(artifact, "download"), follow=True)
        assert "There is no such artifact in this location." in answer.content.decode()

    def test_people_leave_places_for_clients(self, artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
        slots = Slots(4)
        monkeypatch.setattr(by_hand, "TRANSFERS", slots)
        client = log_in("view_artifact", "download_artifact")
        held = [slots.take(by_hand.PEOPLE) for _ in range(3)]
        answer = client.get(page_of(artifact, "download"), follow=True)
        assert "It cannot be downloaded." in answer.content.decode()
        held[0].release()
        assert client.get(page_of(artifact, "download")).getvalue() == CONTENT
        assert slots.taken == 2


class TestVerification:
    def test_a_sound_artifact_is_marked_so(self, artifact: Artifact) -> None:
        answer = log_in("view_artifact", "test_location").post(page_of(artifact, "verify"), follow=True)
        assert "it matches its digest" in answer.content.decode()
        artifact.refresh_from_db()
        assert artifact.verified_at is not None
        [(action, info)] = acts()
        assert (action, info["found"]) == ("CASArtifactTested", "sound")

    def test_damage_is_found_and_marked(self, artifact: Artifact, root: Path) -> None:
        stored_at(root, CONTENT).write_bytes(b"x" * len(CONTENT))
        answer = log_in("view_artifact", "test_location").post(page_of(artifact, "verify"), follow=True)
        assert "It was found corrupt." in answer.content.decode()
        artifact.refresh_from_db()
        assert artifact.corrupt_at is not None

    def test_what_was_healed_is_sound_again(self, artifact: Artifact) -> None:
        Artifact.objects.update(corrupt_at=timezone.now())
        log_in("view_artifact", "test_location").post(page_of(artifact, "verify"))
        artifact.refresh_from_db()
        assert artifact.corrupt_at is None

    def test_a_missing_one_is_marked(self, artifact: Artifact, root: Path) -> None:
        stored_at(root, CONTENT).unlink()
        answer = log_in("view_artifact", "test_location").post(page_of(artifact, "verify"), follow=True)
        assert "It was found missing." in answer.content.decode()
        artifact.refresh_from_db()
        assert artifact.missing_at is not None

    def test_the_storage_failing_is_no_finding(self, artifact: Artifact) -> None:
        artifact.location.options = {"location": "/dev/null/nothing"}
        artifact.location.save()
        answer = log_in("view_artifact", "test_location").post(page_of(artifact, "verify"), follow=True)
        assert "It could not be read." in answer.content.decode()
        artifact.refresh_from_db()
        assert (artifact.missing_at, artifact.corrupt_at) == (None, None)

    def test_a_large_one_is_left_to_the_scrub(self, artifact: Artifact) -> None:
        Artifact.objects.update(size_bytes=by_hand.MOST_VERIFIED + 1)
        client = log_in("view_artifact", "test_location")
        assert page_of(artifact, "verify") not in client.get(page_of(artifact)).content.decode()
        assert client.post(page_of(artifact, "verify")).status_code == 403

    def test_only_by_the_button_and_only_for_those_who_may(self, artifact: Artifact) -> None:
        assert log_in("view_artifact", "test_location").get(page_of(artifact, "verify")).status_code == 405
        assert log_in("view_artifact", "download_artifact").post(page_of(artifact, "verify")).status_code == 403
