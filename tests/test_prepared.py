"""Statements given to the driver's own cursor: as many rows as there are, errors that are Django's, and who watches."""

from collections.abc import Sequence

import pytest
from django.contrib.auth.models import Group
from django.db import DataError, IntegrityError, connection, transaction
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from artifacts import labels
from artifacts.models import Location
from common import group_commit, prepared
from common.prepared import Insert, Query, insert_all
from people.roles import ROLES
from tests.factories import digest_of

TABLE = Group._meta.db_table
INSERT = Insert(TABLE, ["name"], "DO NOTHING")
# Its ids are below zero: others would move SQLite's sequence, from which the roles get theirs when they are made anew.
REPLACE = Insert(TABLE, ["name", "id"], "(name) DO UPDATE SET id = excluded.id", key=1)
FIND = Query(f"SELECT name FROM {TABLE} WHERE name = %s")  # noqa: S608  (a name of Django's)

pytestmark = pytest.mark.django_db(transaction=True)


def names() -> set[str]:
    return set(Group.objects.exclude(name__in=ROLES).values_list("name", flat=True))


@pytest.mark.parametrize("count", [0, 1, 9, 15, 16, 31, 32, 33, 49, 50, 99, 100, 234])
def test_as_many_rows_are_inserted_as_there_are(count: int) -> None:
    INSERT.run([(f"row {number}",) for number in range(count)])
    assert names() == {f"row {number}" for number in range(count)}


def test_what_is_there_already_stays_and_holds_up_no_other() -> None:
    INSERT.run([("there",)])
    INSERT.run([("there",)] * 3 + [(f"row {number}",) for number in range(20)] + [("there",)])
    assert len(names()) == 21


def test_of_rows_with_one_key_the_last_is_taken() -> None:
    REPLACE.run([("twin", -10_001), *((f"row {number}", -20_000 - number) for number in range(12)), ("twin", -10_002)])
    assert Group.objects.get(name="twin").pk == -10_002
    assert len(names()) == 13


def test_first_row_or_none() -> None:
    assert FIND.first("nobody") is None
    INSERT.run([("somebody",)])
    assert FIND.first("somebody") == ("somebody",)


def test_inserts_of_several_kinds_go_together_into_one_commit() -> None:
    group_commit.defer(REPLACE, ("label", -10_001))
    group_commit.write(INSERT, ("event",))
    assert names() == {"label", "event"}


def test_row_that_no_database_would_take_fails_alone() -> None:
    tickets = [group_commit.defer(INSERT, (name,)) for name in ("good", None, "also good")]
    group_commit.flush()
    tickets[0].wait()
    tickets[2].wait()
    with pytest.raises(IntegrityError):
        tickets[1].wait()
    assert names() == {"good", "also good"}


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite takes any text")
def test_what_the_driver_refuses_is_an_error_of_django() -> None:
    with pytest.raises(DataError):
        INSERT.run([("with \0",)])
    INSERT.run([("after",)])
    assert names() == {"after"}


def test_broken_transaction_takes_no_more() -> None:
    with transaction.atomic():
        with pytest.raises(IntegrityError):
            INSERT.run([(None,)])
        transaction.set_rollback(True)
        with pytest.raises(TransactionManagementError):
            INSERT.run([("row",)])
    assert names() == set()


def test_connection_that_was_closed_is_opened_again() -> None:
    INSERT.run([("before",)])
    connection.close()
    assert FIND.first("before") == ("before",)
    if connection.vendor == "postgresql":
        assert prepared._kept.cursor.connection is connection.connection


def test_who_watches_queries_sees_these() -> None:
    with CaptureQueriesContext(connection) as queries:
        insert_all({INSERT: [("row",)]})
        assert FIND.first("row") == ("row",)
    seen = [query["sql"].split()[0] for query in queries.captured_queries]
    assert [word for word in seen if word not in {"BEGIN", "COMMIT"}] == ["INSERT", "SELECT"]
    assert FIND.first("row") == ("row",)


@pytest.mark.parametrize("count", [1, 7, 40])
def test_all_are_inserted_or_none(count: int) -> None:
    rows = [(f"row {number}",) for number in range(count)]
    with pytest.raises(IntegrityError):
        insert_all({INSERT: [*rows, (None,)], REPLACE: [("other", -10_001)]})
    with pytest.raises(IntegrityError):
        insert_all({REPLACE: [("other", -10_001)], INSERT: [*rows, (None,)]})
    assert names() == set()
    insert_all({INSERT: rows, REPLACE: [("other", -10_001)]})
    assert names() == {"other", *(f"row {number}" for number in range(count))}


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no statements in WITH that modify")
def test_few_rows_of_several_kinds_are_one_statement_and_prepared() -> None:
    for _ in range(10):
        insert_all({INSERT: [("a",), ("b",), ("c",)], REPLACE: [("d", -10_001)]})
    with CaptureQueriesContext(connection) as queries:
        insert_all({INSERT: [("a",), ("b",), ("c",)], REPLACE: [("d", -10_002)]})
    assert len(queries.captured_queries) == 1
    assert Group.objects.get(name="d").pk == -10_002
    assert sum(statement.startswith("WITH ") for statement in prepared_by_server([])) == 1


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite plans in the process, and keeps plans itself")
def test_postgresql_prepares_what_is_asked_often() -> None:
    for number in range(10):
        FIND.first("nobody")
        with transaction.atomic():
            INSERT.run([(f"row {number} {row}",) for row in range(8)])
    assert prepared_by_server([]) == {
        FIND.statement.of_driver["postgresql"],
        INSERT.by_size[8].of_driver["postgresql"],
    }


@pytest.mark.skipif(connection.vendor != "postgresql", reason="as above")
def test_labels_of_any_size_are_one_statement_to_postgresql(location: Location) -> None:
    for number in range(10):
        sizes = [2 ** (number + bits) for bits in range(0, 32, 4)]
        tickets = [
            labels.put(location, digest_of(f"{number} {size}".encode()), size, "", timezone.now(), []) for size in sizes
        ]
        group_commit.flush()
        for ticket in tickets:
            ticket.wait()
    statements: set[str] = set()
    group_commit.write(lambda rows: statements.update(prepared_by_server(rows)), None)  # of the thread that commits
    assert labels._UPSERT.by_size[8].of_driver["postgresql"] in statements


def prepared_by_server(rows: Sequence[object]) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        return {statement for (statement,) in cursor.fetchall()}
