"""A database that fails or goes away under a transfer: what is acknowledged is audited all the same."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import OperationalError, connection
from django.test import Client

from artifacts import locations
from artifacts.models import Artifact, Location
from artifacts.tokens import DOWNLOADER
from audit import intake, journal, keeping, write_ahead
from audit.models import AuditEvent
from common import group_commit
from tests.factories import bearer, digest_of

CONTENT = b"some content"
URL = f"/artifacts/{digest_of(CONTENT)}"

pytestmark = pytest.mark.django_db(transaction=True)

postgres_only = pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no connection to lose")


def events_kept() -> list[tuple[str, str]]:
    """What the trail has once the database is back."""
    intake.take_in()
    return list(AuditEvent.objects.values_list("action", "digest"))


def test_transaction_that_the_database_gave_up_by_itself_loses_no_event(
    client: Client, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        connection.connection.rollback()  # as SQLite does on an I/O error: the savepoint goes with the rest
        raise OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(keeping, "insertion", lambda: fail)
        assert client.put(URL, CONTENT, headers=bearer()).status_code == 201
    assert events_kept() == [("CASArtifactUploaded", digest_of(CONTENT).hex)]


def test_event_is_kept_whatever_it_is_that_fails(
    client: Client, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(group_commit, "write", fail)
        assert client.put(URL, CONTENT, headers=bearer()).status_code == 201
    assert events_kept() == [("CASArtifactUploaded", digest_of(CONTENT).hex)]


@pytest.fixture
def absent_trail(transactional_db: None) -> Iterator[None]:
    """The trail's table is not there, until `restore`."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_auditevent RENAME TO audit_elsewhere")
    yield
    restore()


def restore() -> None:
    with connection.cursor() as cursor:
        if "audit_elsewhere" in connection.introspection.table_names(cursor):
            cursor.execute("ALTER TABLE audit_elsewhere RENAME TO audit_auditevent")


def test_statement_that_fails_takes_nothing_of_the_upload_with_it(
    client: Client, location: Location, absent_trail: None
) -> None:
    assert client.put(URL, CONTENT, headers=bearer()).status_code == 201
    assert Artifact.objects.get().digest == digest_of(CONTENT).hex
    restore()
    assert events_kept() == [("CASArtifactUploaded", digest_of(CONTENT).hex)]


@pytest.fixture
def deadly_trail(transactional_db: None) -> Iterator[None]:
    """Whoever inserts an event has its session ended by the server, until `mend`."""
    with connection.cursor() as cursor:
        cursor.execute("""
            CREATE FUNCTION end_session() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
            CREATE TRIGGER ends BEFORE INSERT ON audit_auditevent FOR EACH ROW EXECUTE FUNCTION end_session();
        """)
    yield
    mend()


def mend() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP FUNCTION IF EXISTS end_session CASCADE")


@postgres_only
def test_server_that_ends_the_connection_under_an_upload_loses_no_event(
    client: Client, location: Location, deadly_trail: None
) -> None:
    assert client.put(URL, CONTENT, headers=bearer()).status_code == 201
    mend()
    assert events_kept() == [("CASArtifactUploaded", digest_of(CONTENT).hex)]


@postgres_only
def test_connection_that_the_server_ended_in_between_costs_nothing(client: Client, location: Location) -> None:
    client.put("/artifacts/" + str(digest_of(b"before")), b"before", headers=bearer())
    with connection.cursor() as cursor:
        cursor.execute("""
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()
        """)
    assert client.put(URL, CONTENT, headers=bearer()).status_code == 201
    assert write_ahead.segments() == journal.pending() == []
    assert AuditEvent.objects.count() == Artifact.objects.count() == 2


@postgres_only
def test_server_that_ends_the_connection_after_a_download_loses_no_event(
    client: Client, location: Location, root: Path, deadly_trail: None
) -> None:
    path = root / "sha256" / digest_of(CONTENT).hex[:2] / digest_of(CONTENT).hex
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    answer = client.get(URL, headers=bearer(DOWNLOADER))
    assert answer.getvalue() == CONTENT
    mend()
    assert events_kept() == [("CASArtifactDownloaded", digest_of(CONTENT).hex)]


@postgres_only
@pytest.mark.parametrize("is_location_known", [True, False])
def test_download_over_a_connection_that_the_server_ended_in_between_is_served(
    client: Client, location: Location, is_location_known: bool
) -> None:
    client.put(URL, CONTENT, headers=bearer())
    if not is_location_known:
        locations.forget()
    with pytest.raises(OperationalError), connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    answer = client.get(URL, headers=bearer(DOWNLOADER))
    assert (answer.status_code, answer.getvalue()) == (200, CONTENT)
