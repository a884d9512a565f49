"""Statements that PostgreSQL prepares once and then only runs: planning takes it longer than what a transfer asks."""

from django.db import connection
from django.db.backends.utils import CursorWrapper


def prepared_cursor() -> CursorWrapper:
    """`connection.cursor()`, for statements that are run again and again.

    On PostgreSQL the server binds their parameters, where Django's cursors write them into the statement. Not for all
    of them: Django's `server_side_binding` breaks grouping by expressions with parameters, as its documentation says.
    """
    if connection.vendor != "postgresql":
        return connection.cursor()
    import psycopg  # noqa: PLC0415  (nobody else needs libpq)

    connection.ensure_connection()
    make = connection.make_debug_cursor if connection.queries_logged else connection.make_cursor
    return make(psycopg.Cursor(connection.connection))  # type: ignore[arg-type]
