"""Indexes of tables that grow with every transfer, for migrations that are not atomic.

On PostgreSQL nobody who writes waits while they are made; SQLite has one writer anyway.
"""

from typing import Any

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations


def _concurrently(operation: Any, plain: Any) -> Any:
    """The operation, which is the plain one where the database has no CONCURRENTLY."""

    def choose(schema_editor: Any) -> Any:
        return operation if schema_editor.connection.vendor == "postgresql" else plain

    class Chosen(operation):  # type: ignore[misc]
        def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
            choose(schema_editor).database_forwards(self, app_label, schema_editor, from_state, to_state)

        def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
            choose(schema_editor).database_backwards(self, app_label, schema_editor, from_state, to_state)

    return Chosen


AddIndex = _concurrently(AddIndexConcurrently, migrations.AddIndex)
RemoveIndex = _concurrently(RemoveIndexConcurrently, migrations.RemoveIndex)
