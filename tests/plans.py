"""What the database would do for the queries of a page, on both databases."""

from collections.abc import Callable, Sequence
from typing import Any

from django.db import connection

WAYS = ("seqscan", "bitmapscan", "sort")  # what PostgreSQL does with a small table in one of these says nothing


def plans_of(read: Callable[[], object], *, without: Sequence[str] = WAYS, about: str = "") -> list[tuple[str, str]]:
    """The queries of `read` that hold `about`, and the plan of each; PostgreSQL's without these ways if it can."""
    asked: list[tuple[str, Any]] = []

    def remember(execute: Any, sql: str, params: Any, *rest: Any) -> Any:
        if about in sql:
            asked.append((sql, params))
        return execute(sql, params, *rest)

    with connection.execute_wrapper(remember):
        read()
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for way in without:
                cursor.execute(f"SET LOCAL enable_{way} = off")
        plans = []
        for sql, params in asked:
            cursor.execute(f"EXPLAIN {'QUERY PLAN ' if connection.vendor == 'sqlite' else ''}{sql}", params)
            plans.append((sql, "\n".join(str(row[-1]) for row in cursor.fetchall())))
    return plans


def forget_counts(table: str) -> None:
    """Have PostgreSQL know nothing of a table's size: what another test made it count has a say in plans."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE relname = %s", [table])
