"""While the database is away: transfers go on over remembered locations, and what it should have known comes later."""

import base64
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError, OperationalError, connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from artifacts import examining, finishing, labels, late_labels, locations, services
from artifacts.block_hashes import HASHED_BLOCK
from artifacts.models import Artifact, BlockHashes, Location, ResumableUpload
from artifacts.tokens import DOWNLOADER
from audit import intake, write_ahead
from audit.models import AuditEvent
from common import first_query, group_commit
from common.folders import write_whole
from common.group_commit import Ticket
from common.refusals import Refusals
from common.transactions import write_transaction
from tests.artifacts.test_errors import assert_problem
from tests.artifacts.test_tus import Tus
from tests.factories import bearer, digest_of, files_in, stored_at
from tests.servers import wait_until

CONTENT, OTHER = b"some content", b"other content"
LARGE = bytes(HASHED_BLOCK + 5)
TABLES = ("artifacts_artifact", "artifacts_location", "artifacts_resumableupload", "audit_auditevent")

pytestmark = pytest.mark.django_db(transaction=True)


def url(content: bytes) -> str:
    return f"/artifacts/{digest_of(content)}"


def put(client: Client, content: bytes, file_name: str = "") -> tuple[int, bool]:
    answer = client.put(f"{url(content)}?filename={file_name}", content, headers=bearer())
    return answer.status_code, answer.json().get("skipped")


def get(client: Client, content: bytes, **headers: str) -> tuple[int, bytes]:
    answer = client.get(url(content), headers={**bearer(DOWNLOADER), **headers})
    return answer.status_code, answer.getvalue()


def run(*statements: str) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA legacy_alter_table = ON")  # references of other tables keep the usual name
        for statement in statements:
            cursor.execute(statement)


def grow_older(seconds: float) -> None:
    """Let so much time pass since locations were read."""
    for key, (read_at, location) in list(locations._known.items()):
        locations._known[key] = read_at - seconds, location


@contextmanager
def no_database() -> Iterator[None]:
    """Every query of a transfer fails."""
    run(*(f"ALTER TABLE {table} RENAME TO {table}_gone" for table in TABLES))
    try:
        grow_older(locations.REMEMBERED)
        yield
    finally:
        run(*(f"ALTER TABLE {table}_gone RENAME TO {table}" for table in TABLES))


def test_transfers_go_on_and_nothing_is_lost(client: Client, location: Location) -> None:
    assert put(client, CONTENT, "before.txt") == (201, False)
    with no_database():
        assert put(client, OTHER, "meanwhile.txt") == (201, False)
        assert put(client, CONTENT) == (200, True)
        assert get(client, OTHER) == (200, OTHER)
        assert get(client, CONTENT, Range="bytes=5-") == (206, CONTENT[5:])
        assert client.head(url(OTHER), headers=bearer()).status_code == 200
        assert client.get(f"{url(CONTENT)}/describe", headers=bearer()).json()["size_bytes"] == len(CONTENT)
    assert late_labels.take_in() == 1
    assert late_labels.pending() == []
    assert dict(Artifact.objects.values_list("digest", "file_name")) == {
        digest_of(CONTENT).hex: "before.txt",
        digest_of(OTHER).hex: "meanwhile.txt",
    }
    intake.take_in()
    events = AuditEvent.objects.values_list("action", "digest", "size_bytes", "skipped")
    uploaded, downloaded = "CASArtifactUploaded", "CASArtifactDownloaded"
    content, other = digest_of(CONTENT).hex, digest_of(OTHER).hex
    assert sorted(events) == sorted(
        [
            (uploaded, content, len(CONTENT), False),
            (uploaded, other, len(OTHER), False),
            (uploaded, content, len(CONTENT), True),
            (downloaded, other, len(OTHER), False),
            (downloaded, content, len(CONTENT) - 5, False),
        ]
    )


def test_artifact_of_several_blocks_is_verified_by_its_digest(client: Client, location: Location) -> None:
    assert put(client, LARGE) == (201, False)
    with no_database():
        assert get(client, LARGE) == (200, LARGE)
        assert get(client, LARGE, Range="bytes=-5") == (206, LARGE[-5:])
        stored_at(Path(location.options["location"]), LARGE).write_bytes(LARGE[:-1] + b"x")
        answer = client.get(url(LARGE), headers=bearer(DOWNLOADER))
        with pytest.raises(Exception, match="does not match"):
            answer.getvalue()


@pytest.mark.parametrize(
    ("headers", "expected"), [({}, (200, LARGE)), ({"Range": "bytes=-5"}, (206, LARGE[-5:]))], ids=["whole", "range"]
)
def test_database_that_goes_away_under_a_download_is_done_without(
    client: Client, location: Location, settings: Settings, headers: dict[str, str], expected: tuple[int, bytes]
) -> None:
    assert put(client, LARGE) == (201, False)
    table = BlockHashes._meta.db_table
    run(f"ALTER TABLE {table} RENAME TO {table}_gone")
    try:
        assert get(client, LARGE, **headers) == expected
        settings.CAS_WITHOUT_DATABASE_SECONDS = 0
        answer = client.get(url(LARGE), headers={**bearer(DOWNLOADER), **headers})
        assert_problem(answer, 503, "unavailable")
        assert answer["Retry-After"]
    finally:
        run(f"ALTER TABLE {table}_gone RENAME TO {table}")


def test_database_that_goes_away_under_a_verification_is_not_the_storage(location: Location, client: Client) -> None:
    put(client, CONTENT)
    artifact = Artifact.objects.select_related("location").get()
    with no_database(), pytest.raises(DatabaseError):
        examining.verify(artifact)


def test_what_is_corrupt_is_replaced_though_its_mark_cannot_be_read(client: Client, location: Location) -> None:
    assert put(client, CONTENT, "name.txt") == (201, False)
    stored_at(Path(location.options["location"]), CONTENT).write_bytes(b"some cOntent")
    assert_problem(client.get(url(CONTENT), headers=bearer(DOWNLOADER)), 502, "artifact_corrupt")
    with no_database():
        assert put(client, CONTENT, "again.txt") == (201, False)
        assert get(client, CONTENT) == (200, CONTENT)
    late_labels.take_in()
    assert get(client, CONTENT) == (200, CONTENT)
    assert Artifact.objects.get().file_name == "again.txt"


def test_label_that_takes_a_mark_away_is_synced_and_another_is_not(
    client: Client, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it sound bytes would not be served."""
    synced: list[Path] = []

    def write(path: Path, text: str, *, is_synced: bool) -> None:
        if is_synced:
            synced.append(path)
        write_whole(path, text, is_synced=is_synced)

    put(client, CONTENT)
    stored_at(Path(location.options["location"]), CONTENT).write_bytes(b"some cOntent")
    assert_problem(client.get(url(CONTENT), headers=bearer(DOWNLOADER)), 502, "artifact_corrupt")
    monkeypatch.setattr(late_labels, "write_whole", write)
    with no_database():
        put(client, OTHER)
        assert synced == []
        put(client, CONTENT)
    assert len(synced) == 1
    assert set(synced) < set(late_labels.pending())


def test_label_that_was_missing_is_not_lost_when_the_database_does_not_take_it(
    client: Client, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(rows: object) -> None:
        raise OperationalError("locked")

    put(client, CONTENT)
    Artifact.objects.all().delete()
    with monkeypatch.context() as gone:
        gone.setattr(labels, "_insert_missing", refuse)
        assert put(client, CONTENT, "name.txt") == (200, True)
    assert late_labels.take_in() == 1
    assert Artifact.objects.get().file_name == "name.txt"


def test_upload_that_tells_no_digest_finds_what_is_there(client: Client, location: Location) -> None:
    put(client, CONTENT)
    with no_database():
        answer = client.post("/artifacts/", CONTENT, "application/octet-stream", headers=bearer())
        assert (answer.status_code, answer.json()["skipped"]) == (200, True)


def test_location_that_nobody_asked_for_before_is_not_served(client: Client, location: Location) -> None:
    with no_database():
        assert_problem(client.put(url(CONTENT), CONTENT, headers=bearer()), 503, "unavailable")


@pytest.mark.parametrize("seconds", [0, 10])
def test_location_is_remembered_for_as_long_as_is_set(
    client: Client, location: Location, settings: Settings, seconds: int
) -> None:
    put(client, CONTENT)
    settings.CAS_WITHOUT_DATABASE_SECONDS = seconds
    with no_database():
        grow_older(10)
        assert_problem(client.put(url(OTHER), OTHER, headers=bearer()), 503, "unavailable")
        assert_problem(client.get(url(CONTENT), headers=bearer(DOWNLOADER)), 503, "unavailable")


def test_organization_is_still_told_apart(client: Client, location: Location) -> None:
    organization = "11111111-1111-1111-1111-111111111111"
    location.organization = UUID(organization)
    location.save()
    mine = bearer(**{"org-id": organization})
    assert client.put(url(CONTENT), CONTENT, headers=mine).status_code == 201
    with no_database():
        assert_problem(client.put(url(OTHER), OTHER, headers=bearer()), 403, "wrong_organization")
        assert client.put(url(OTHER), OTHER, headers=mine).status_code == 201


def test_quota_cannot_be_kept_to(client: Client, location: Location) -> None:
    location.quota_bytes = 1000
    location.save()
    put(client, CONTENT)
    with no_database():
        assert_problem(client.put(url(OTHER), OTHER, headers=bearer()), 503, "unavailable")
        assert get(client, CONTENT) == (200, CONTENT)


def test_ready_while_the_default_location_is_remembered(client: Client, location: Location, root: Path) -> None:
    with no_database():
        assert client.get("/readyz").status_code == 503
    client.get("/readyz")
    with no_database():
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()) == (
            200,
            {"status": "degraded", "database": "failed", "location": "ok"},
        )
        root.rename(root.with_suffix(".gone"))
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["location"]) == (503, "failed")


def test_ready_without_a_default_location_while_another_is_remembered(
    client: Client, location: Location, settings: Settings
) -> None:
    Location.objects.update(name="archive")
    locations.remember(Location.objects.get())
    with no_database():
        assert client.get("/readyz").json() == {"status": "degraded", "database": "failed", "location": "ok"}
        settings.CAS_WITHOUT_DATABASE_SECONDS = 0
        assert client.get("/readyz").status_code == 503


def test_ready_where_there_was_no_default_location(client: Client, settings: Settings) -> None:
    assert client.get("/readyz").status_code == 200
    with no_database():
        assert client.get("/readyz").json() == {"status": "degraded", "database": "failed", "location": "ok"}
        settings.CAS_WITHOUT_DATABASE_SECONDS = 0
        assert client.get("/readyz").status_code == 503


def test_label_that_comes_late_goes_behind_what_was_stored_since(client: Client, location: Location) -> None:
    put(client, CONTENT)
    late_labels.keep(location, digest_of(OTHER).hex, len(OTHER), "late.txt", timezone.now())
    put(client, OTHER, "since.txt")
    assert late_labels.take_in() == 1
    assert Artifact.objects.get(digest=digest_of(OTHER).hex).file_name == "since.txt"


@pytest.mark.parametrize("mark", ["corrupt_at", "missing_at"])
def test_label_that_comes_late_takes_no_mark_away_that_was_made_since(location: Location, mark: str) -> None:
    label = Artifact.objects.create(location=location, digest=digest_of(CONTENT).hex, size_bytes=len(CONTENT))
    late_labels.keep(location, label.digest, label.size_bytes, "late.txt", timezone.now())
    Artifact.objects.update(**{mark: timezone.now()})
    assert late_labels.take_in() == 1
    assert getattr(Artifact.objects.get(), mark)


def test_resumable_upload_counts_on_nothing_that_the_database_does_not_vouch_for(
    client: Client, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(client, CONTENT)
    stored_at(Path(location.options["location"]), CONTENT).write_bytes(b"some cOntent")

    def fail(*args: object) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(labels, "find", fail)
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": str(len(CONTENT)), **bearer()}
    metadata = base64.b64encode(str(digest_of(CONTENT)).encode()).decode()
    answer = client.post(
        "/uploads/",
        b"",
        "application/offset+octet-stream",
        headers={**headers, "Upload-Metadata": f"digest {metadata}"},
    )
    assert answer.status_code == 201
    assert answer.get("Upload-Offset", "0") == "0"


def test_resumable_upload_whose_database_goes_while_it_is_read_is_not_placed(
    client: Client, location: Location, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be there already at its end, and count as skipped."""
    tus = Tus(client)
    address = tus.start()
    with ExitStack() as outage, monkeypatch.context() as patch:

        def find(*args: Any) -> None:
            outage.enter_context(no_database())

        patch.setattr(services, "find_stored", find)
        answer = tus.patch(address, 0, CONTENT)
    assert_problem(answer, 503, "unavailable")
    assert answer["Retry-After"] == "5"
    assert not stored_at(root, CONTENT).exists()
    assert write_ahead.segments() == []
    ResumableUpload.objects.update(finishing_until=None)  # as 15 seconds later
    assert tus.head(address)["Upload-Skipped"] == "false"
    assert list(AuditEvent.objects.values_list("skipped", flat=True)) == [False]


def test_resumable_upload_whose_database_goes_while_it_is_placed_is_not_at_its_end(
    client: Client, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    tus = Tus(client)
    address = tus.start()
    place = services._place
    with ExitStack() as outage, monkeypatch.context() as patch:

        def place_and_go(*args: Any, **options: Any) -> bool:
            outage.enter_context(no_database())
            return place(*args, **options)

        patch.setattr(services, "_place", place_and_go)
        answer = tus.patch(address, 0, CONTENT)
    assert_problem(answer, 503, "unavailable")
    assert answer["Retry-After"] == "5"
    ResumableUpload.objects.update(finishing_until=None)  # as 15 seconds later
    assert tus.head(address)["Content-Location"] == url(CONTENT)
    intake.take_in()
    assert AuditEvent.objects.count() == 1


def test_resumable_upload_is_at_its_end_only_when_its_event_is_kept(
    client: Client, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is killed in between would else leave one that nobody finishes again, and no event of it."""
    settle, kept = finishing._settle, []

    def look(uploads: Sequence[ResumableUpload]) -> None:
        kept.append(sum(len(path.read_text().splitlines()) for path in write_ahead.segments()))
        settle(uploads)

    tus = Tus(client)
    monkeypatch.setattr(finishing, "_settle", look)
    table = AuditEvent._meta.db_table
    run(f"ALTER TABLE {table} RENAME TO {table}_gone")
    try:
        for content in (CONTENT, OTHER):  # the trail refuses one, and is not asked by the other
            answer = tus.patch(tus.start(len(content)), 0, content)
            assert (answer.status_code, answer["Upload-Skipped"]) == (204, "false")
    finally:
        run(f"ALTER TABLE {table}_gone RENAME TO {table}")
    assert kept == [1, 2]
    assert ResumableUpload.objects.exclude(result="").count() == 2
    assert intake.take_in() == 2


def test_resumable_upload_is_at_its_end_while_the_trail_is_busy(
    client: Client, location: Location, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_back, commit = Event(), group_commit._commit

    def hang(tickets: list[Ticket], refusals: Refusals) -> None:
        is_back.wait(60)
        commit(tickets, refusals)

    tus = Tus(client)
    with monkeypatch.context() as patch:
        patch.setattr(group_commit, "PATIENCE", 0.1)
        patch.setattr(group_commit, "_commit", hang)
        # One waits in vain; the other is not even in a group.
        answers = [tus.patch(tus.start(len(content)), 0, content) for content in (CONTENT, OTHER)]
        is_back.set()
        group_commit.stop()  # once it has committed what it still had of them
    assert [(answer.status_code, answer.get("Upload-Skipped")) for answer in answers] == [(204, "false")] * 2
    assert set(ResumableUpload.objects.values_list("result", "skipped", "finishing_until")) == {
        (digest_of(content).hex, False, None) for content in (CONTENT, OTHER)
    }
    assert set(files_in(root)) == {stored_at(root, content) for content in (CONTENT, OTHER)}
    assert intake.take_in() == 2
    assert list(AuditEvent.objects.values_list("skipped", flat=True)) == [False, False]


def test_resumable_upload_is_at_its_end_when_its_group_is_committed_late(
    client: Client, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the row, or on SQLite the write lock, while the result is to be written without it."""

    @contextmanager
    def commit_late() -> Iterator[None]:
        with write_transaction():
            yield
            wait_until(lambda: write_ahead.segments() != [], what="its event is in the log")
            time.sleep(0.3)

    tus = Tus(client)
    with monkeypatch.context() as patch:
        patch.setattr(group_commit, "PATIENCE", 0.1)
        patch.setattr(group_commit, "write_transaction", commit_late)
        answer = tus.patch(tus.start(), 0, CONTENT)
        group_commit.stop()
    assert (answer.status_code, answer.get("Upload-Skipped")) == (204, "false")
    assert len(write_ahead.segments()) == 1
    intake.take_in()
    assert list(AuditEvent.objects.values_list("skipped", flat=True)) == [False]


def test_label_of_a_location_that_is_gone_is_dropped(location: Location) -> None:
    late_labels.keep(location, digest_of(CONTENT).hex, len(CONTENT), "late.txt", timezone.now())
    location.delete()
    late_labels.take_in()
    assert late_labels.pending() == []


def test_label_that_cannot_be_read_holds_up_no_other(location: Location) -> None:
    late_labels.keep(location, digest_of(CONTENT).hex, len(CONTENT), "late.txt", timezone.now())
    for name, text in (("0.json", "no JSON"), ("1.json", "[]"), ("2.json", '{"a": 1}')):
        (late_labels._folder() / name).write_text(text)
    assert late_labels.take_in() == 1
    assert Artifact.objects.get().file_name == "late.txt"
    assert len(list(late_labels._folder().glob("*.bad"))) == 3


def test_thread_tries_until_the_database_takes_them(
    location: Location, monkeypatch: pytest.MonkeyPatch, late_labels_begin: Callable[[], None]
) -> None:
    monkeypatch.setattr(late_labels, "INTERVAL", 0.05)
    monkeypatch.setattr(late_labels, "begin", late_labels_begin)
    put_late, failures = labels.put_late, [OperationalError("away"), RuntimeError("a bug")]

    def fail_twice(*args: object) -> None:
        if failures:
            raise failures.pop(0)
        put_late(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(labels, "put_late", fail_twice)
    late_labels.keep(location, digest_of(CONTENT).hex, len(CONTENT), "late.txt", timezone.now())
    wait_until(lambda: not late_labels.pending(), what="the label is taken in")
    assert Artifact.objects.get().file_name == "late.txt"
    wait_until(lambda: late_labels._thread is None, what="the thread ends")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time by which outages are, as its only item."""
    clock = [1000.0]
    monkeypatch.setattr(first_query, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    return clock


SPARED = "The database could not be reached a moment ago."


def ask(query: Callable[[], object]) -> str:
    try:
        first_query.first_query(query)
    except OperationalError as error:
        return str(error)
    return "answered"


@pytest.mark.parametrize(("taken", "pause"), [(0.001, first_query.LEAST), (3.0, 3.0), (10.0, first_query.MOST)])
def test_who_could_not_connect_spares_others_that(taken: float, pause: float, clock: list[float]) -> None:
    asked = []

    def fail() -> None:
        asked.append("fail")
        clock[0] += taken
        connection.close()
        raise OperationalError("refused")

    connection.close()
    assert [ask(fail), ask(fail)] == ["refused", SPARED]
    clock[0] += pause - 0.1
    assert ask(fail) == SPARED
    clock[0] += 0.1
    assert [ask(fail), ask(fail)] == ["refused", SPARED]
    clock[0] += pause
    assert [ask(connection.ensure_connection), ask(connection.ensure_connection)] == ["answered", "answered"]
    assert len(asked) == 2


def test_who_is_connected_asks_a_database_that_refuses_others_and_spares_one_that_is_silent(clock: list[float]) -> None:
    connection.ensure_connection()
    for taken in (0, 1.5):  # as when it has too many connections, and is busy besides
        first_query.outage.begin(taken)
        assert ask(lambda: None) == "answered"
    first_query.outage.begin(10)
    assert ask(lambda: None) == SPARED
    clock[0] += first_query.MOST
    asked = []

    def ask_and_have_another_ask() -> None:
        asked.append(ask(lambda: None))

    assert ask(ask_and_have_another_ask) == "answered"
    assert asked == [SPARED]
    assert ask(lambda: None) == "answered"


@pytest.mark.parametrize(
    ("waited", "is_outage", "queries"), [(0.1, False, 2), (0.1, True, 1), (10.0, False, 1)], ids=str
)
def test_who_lost_the_connection_makes_another_unless_that_is_to_be_waited_for(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, waited: float, is_outage: bool, queries: int
) -> None:
    asked = []

    def lose() -> None:
        asked.append(clock[0])
        clock[0] += waited
        if is_outage:
            first_query.outage.begin(0)  # another has found out meanwhile
        if len(asked) == 1:
            raise OperationalError("server closed the connection unexpectedly")

    connection.ensure_connection()
    monkeypatch.setattr(connection, "is_usable", lambda: False)
    ask(lose)
    assert len(asked) == queries
    assert first_query.outage.is_on() == (queries == 1)


def test_events_and_labels_do_not_wait_for_what_cannot_be_reached(
    client: Client, location: Location, clock: list[float]
) -> None:
    put(client, CONTENT)
    group_commit.stop()  # and with it its connection
    connection.close()
    first_query.outage.begin(0)
    assert put(client, OTHER, "name.txt") == (201, False)
    assert len(write_ahead.segments()) == len(late_labels.pending()) == 1
    first_query.outage.end()
    assert (intake.take_in(), late_labels.take_in()) == (1, 1)


def test_one_query_that_fails_is_no_outage(client: Client, location: Location) -> None:
    put(client, CONTENT)
    with no_database():
        assert put(client, OTHER) == (201, False)
        assert not first_query.outage.is_on()
