"""A location's quota: never exceeded, and in nobody's way who needs no room."""

import io
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from artifacts import locations, quota, services
from artifacts.exceptions import StorageFull
from artifacts.locations import find_location
from artifacts.models import Artifact, Location, Scrub
from artifacts.rate_limit import RateLimit
from artifacts.scrub_findings import Finding, State, find_label, record
from artifacts.scrubbing import Watcher, scrub
from artifacts.tokens import UPLOADER
from common import group_commit
from tests.artifacts.test_commands import run
from tests.artifacts.test_scrubbing import label, path_of, put, store
from tests.factories import bearer, digest_of, make_grant

pytestmark = pytest.mark.django_db

LARGEST = 2**63 - 1


def limit(location: Location, size: int | None) -> Location:
    location.quota_bytes = size
    location.save()
    return location


def used(location: Location) -> int:
    location.refresh_from_db()
    return location.used_bytes


def upload(client: Client, content: bytes) -> int:
    return client.put(f"/artifacts/{digest_of(content)}", content, headers=bearer()).status_code


def scrub_now(location: Location) -> None:
    scrub(location, limit=RateLimit(0), watcher=Watcher())


class Body(io.BytesIO):
    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.length = len(content)

    def drain(self, limit: int) -> None:
        pass


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Locations are remembered for a moment, past the end of a test."""
    locations.forget()
    yield
    locations.forget()


@pytest.fixture
def _others_leave() -> Iterator[None]:
    """PostgreSQL does not drop a test's database while the thread that commits for all is connected to it."""
    yield
    group_commit.stop()


# Uploads


def test_full_location_answers_507_and_keeps_nothing(client: Client, location: Location, root: Path) -> None:
    limit(location, 10)
    assert upload(client, b"12345") == 201
    answer = client.put(f"/artifacts/{digest_of(b'123456')}", b"123456", headers=bearer())
    assert answer.status_code == 507
    assert answer.json()["code"] == "storage_full"
    assert answer.json()["detail"] == "The location's quota has no room for this artifact."
    assert used(location) == 5
    assert list((root / ".incoming").iterdir()) == []
    assert upload(client, b"54321") == 201
    assert used(location) == 10


def test_what_was_missing_counts_again_when_an_upload_finds_it(client: Client, location: Location) -> None:
    limit(location, 10)
    assert upload(client, b"12345") == 201
    path = path_of(location, b"12345")
    content = path.read_bytes()
    path.unlink()
    scrub_now(location)
    assert used(location) == 0
    path.write_bytes(content)
    for _ in range(2):
        assert upload(client, b"12345") == 200
        assert used(location) == 5
    assert Artifact.objects.get().missing_at is None


def test_post_to_a_full_location_answers_507(client: Client, location: Location) -> None:
    limit(location, 3)
    answer = client.post("/artifacts/", b"12345", content_type="application/octet-stream", headers=bearer())
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
    assert used(location) == 0


@pytest.mark.parametrize("method", ["put", "post"])
def test_what_is_there_is_skipped_in_a_full_location_too(client: Client, location: Location, method: str) -> None:
    limit(location, 5)
    assert upload(client, b"12345") == 201
    url = f"/artifacts/{digest_of(b'12345')}" if method == "put" else "/artifacts/"
    answer = getattr(client, method)(url, b"12345", content_type="application/octet-stream", headers=bearer())
    assert (answer.status_code, answer.json()["skipped"]) == (200, True)
    assert used(location) == 5


@pytest.mark.parametrize("method", ["put", "post"])
def test_corrupt_artifact_is_healed_in_a_full_location_too(client: Client, location: Location, method: str) -> None:
    limit(location, 5)
    assert upload(client, b"12345") == 201
    path_of(location, b"12345").write_bytes(b"1")
    Artifact.objects.update(corrupt_at=timezone.now())
    url = f"/artifacts/{digest_of(b'12345')}" if method == "put" else "/artifacts/"
    answer = getattr(client, method)(url, b"12345", content_type="application/octet-stream", headers=bearer())
    assert answer.status_code == 201
    assert path_of(location, b"12345").read_bytes() == b"12345"
    assert used(location) == 5


def test_upload_that_fails_gives_its_room_back(client: Client, location: Location, root: Path) -> None:
    limit(location, 100)
    (root / "sha256").touch()  # in the way of the folder
    assert upload(client, b"12345") == 502
    assert used(location) == 0


def test_quota_of_0_takes_empty_artifacts_alone(client: Client, location: Location) -> None:
    limit(location, 0)
    assert upload(client, b"1") == 507
    assert upload(client, b"") == 201


def test_no_quota_is_not_counted(client: Client, location: Location) -> None:
    assert upload(client, b"12345") == 201
    assert used(location) == 0


def test_quota_taken_away_a_moment_ago_refuses_nothing(client: Client, location: Location) -> None:
    limit(location, 1)
    find_location(make_grant(UPLOADER))  # remembered, with its quota
    Location.objects.filter(pk=location.pk).update(quota_bytes=None)
    with quota.reserved(location, 5):
        pass
    assert used(location) == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_others_leave")
def test_many_uploads_at_once_never_exceed_it(location: Location, root: Path) -> None:
    limit(location, 10_000)
    contents = [b"%02d" % number * 500 for number in range(24)]  # of 1000 bytes: ten have room
    begin = threading.Barrier(len(contents))
    outcomes: list[str] = []

    def send(content: bytes) -> None:
        try:
            begin.wait(30)
            services.upload(make_grant(UPLOADER), Body(content), "", digest_of(content))
            outcomes.append("stored")
        except StorageFull:
            outcomes.append("full")
        except Exception as error:  # noqa: BLE001
            outcomes.append(repr(error))
        finally:
            connection.close()

    threads = [threading.Thread(target=send, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set(outcomes)) == ["full", "stored"]
    assert outcomes.count("stored") == 10
    assert sum(path.stat().st_size for path in (root / "sha256").rglob("*") if path.is_file()) == 10_000
    assert used(location) == 10_000
    assert list((root / ".incoming").iterdir()) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_others_leave")
def test_twin_uploads_are_counted_once(location: Location) -> None:
    limit(location, 100_000)
    begin = threading.Barrier(8)

    def send() -> None:
        begin.wait(30)
        with suppress(StorageFull):
            services.upload(make_grant(UPLOADER), Body(b"x" * 1000), "", digest_of(b"x" * 1000))
        connection.close()

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert used(location) == 1000


# Counting


def test_quota_that_is_new_is_counted_for(location: Location) -> None:
    put(location, b"12345")
    label(location, b"gone", missing_at=timezone.now())
    assert limit(location, 100).used_bytes == 5
    assert used(location) == 5


def test_other_changes_of_a_location_do_not_write_back_a_stale_use(location: Location) -> None:
    limit(location, 100)
    stale = Location.objects.get()
    quota.adjust(location, 7)
    stale.name = "renamed"
    stale.save()
    limit(stale, 200)
    assert used(location) == 7
    assert location.name == "renamed"


def test_use_is_never_less_than_nothing(location: Location) -> None:
    limit(location, 100)
    quota.adjust(location, -5)
    assert used(location) == 0


def test_scrub_counts_what_is_missing_found_again_and_unlabelled(location: Location) -> None:
    put(location, b"12345")
    limit(location, 100)
    path_of(location, b"12345").unlink()
    scrub_now(location)
    assert used(location) == 0
    store(location, b"12345")
    store(location, b"123")
    scrub_now(location)
    assert used(location) == 8


def test_what_an_operator_removed_makes_room_at_the_next_scrub(client: Client, location: Location) -> None:
    limit(location, 5)
    assert upload(client, b"12345") == 201
    path_of(location, b"12345").unlink()
    assert upload(client, b"abcde") == 507
    scrub_now(location)
    assert upload(client, b"abcde") == 201


def test_artifact_that_two_find_missing_at_once_is_taken_off_once(location: Location) -> None:
    put(location, b"stays")
    put(location, b"gone")
    limit(location, 100)
    digest = digest_of(b"gone")
    both = [Finding(digest, State.MISSING, find_label(location, digest)) for _ in range(2)]
    assert [record(location, finding).state for finding in both] == [State.MISSING, State.CHANGED]
    assert used(location) == 5


def test_missing_artifact_that_comes_back_is_counted_once(client: Client, location: Location) -> None:
    limit(location, 100)
    upload(client, b"12345")
    path_of(location, b"12345").unlink()
    scrub_now(location)
    assert upload(client, b"12345") == 201
    scrub_now(location)
    assert used(location) == 5


def test_scrub_takes_off_what_a_crash_left_counted(location: Location) -> None:
    put(location, b"12345")
    limit(location, 100)
    quota.adjust(location, 40)
    scrub_now(location)
    assert used(location) == 5


def test_scrub_leaves_what_an_upload_has_set_aside_meanwhile(location: Location) -> None:
    put(location, b"12345")
    limit(location, 100)

    class Uploading(Watcher):
        def begun(self, pass_: Scrub) -> None:
            quota.adjust(location, 40)

    scrub(location, limit=RateLimit(0), watcher=Uploading())
    assert used(location) == 45


def test_scrub_adds_what_was_not_counted(location: Location) -> None:
    limit(location, 100)
    put(location, b"12345")
    scrub_now(location)
    assert used(location) == 5


# What may be set


@pytest.mark.parametrize("size", [-1, LARGEST + 1, 2**64])
def test_quota_that_no_database_holds_is_refused(location: Location, size: int) -> None:
    location.quota_bytes = size
    with pytest.raises(ValidationError, match=r"less than or equal|greater than or equal"):
        location.full_clean()


def test_largest_quota_works(client: Client, location: Location) -> None:
    limit(location, LARGEST)
    quota.adjust(location, LARGEST - 5)
    assert upload(client, b"123456") == 507
    assert upload(client, b"12345") == 201


@pytest.mark.parametrize(("text", "size"), [("1500", 1500), ("500GB", 500 * 10**9), ("1TiB", 2**40)])
def test_create_location_takes_a_quota(db: None, tmp_path: Path, text: str, size: int) -> None:
    run("create_location", "main", "--folder", str(tmp_path), "--quota", text)
    assert Location.objects.get().quota_bytes == size


@pytest.mark.parametrize("text", ["much", "-5", "10000PB"])
def test_create_location_refuses_what_is_no_quota(db: None, tmp_path: Path, text: str) -> None:
    with pytest.raises(CommandError):
        call_command("create_location", "main", f"--folder={tmp_path}", f"--quota={text}")
    assert not Location.objects.exists()


# Folders


@pytest.mark.parametrize("folder", ["artifacts", "./x", "../x", 5, ["x"]])
def test_relative_folder_of_a_location_is_refused(db: None, folder: object) -> None:
    with pytest.raises(ValidationError, match="absolute path"):
        Location(name="x", backend="FILESYSTEM", options={"location": folder}).full_clean()


def test_create_location_refuses_a_relative_folder_in_its_options(db: None) -> None:
    with pytest.raises(CommandError, match="absolute path"):
        call_command("create_location", "x", "--options", '{"location": "artifacts"}')
