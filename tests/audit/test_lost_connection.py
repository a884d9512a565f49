"""A database that goes away in the middle of a transfer: what is acknowledged is still audited."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import OperationalError, connection
from django.test import Client
from pytest_django import Settings

from artifacts.models import Location
from artifacts.tokens import DOWNLOADER
from audit import journal, nudge
from audit.models import AuditEvent
from tests.factories import bearer, digest_of

CONTENT = b"some content"
URL = f"/artifacts/{digest_of(CONTENT)}"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _own_journal_and_no_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(journal, "_folder", lambda: tmp_path / "journal")
    monkeypatch.setattr(nudge, "wake", lambda: None)


def acknowledged_transfer_is_audited(status: int, *successes: int) -> None:
    """Either the transfer was refused, or its event is in the trail or the journal. In this order: never neither."""


def events_kept() -> list[str]:
    """The digests of all events, the journal taken in as when the database is back."""
    journal.take_in()
    return list(AuditEvent.objects.values_list("digest", flat=True))


def test_transaction_that_the_database_rolls_back_by_itself_loses_no_event(
    client: Client, location: Location, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        connection.connection.rollback()  # as SQLite does on an I/O error, savepoints and all
        raise OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(AuditEvent, "save", fail)
        status = client.put(URL, CONTENT, headers=bearer()).status_code
    assert status == 201
    assert events_kept() == [digest_of(CONTENT).hex]


postgres_only = pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no connection to lose")


@pytest.fixture
def suicidal_trail(transactional_db: None) -> Iterator[None]:
    """Inserting an event ends the session that does it, until `mend`."""
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
    client: Client, location: Location, suicidal_trail: None
) -> None:
    status = client.put(URL, CONTENT, headers=bearer()).status_code
    mend()
    assert status == 201
    assert events_kept() == [digest_of(CONTENT).hex]
