"""Indexes of tables that grow with every transfer, for migrations that are not atomic.

On PostgreSQL nobody who writes waits while they are made; SQLite has one writer anyway.
"""

from typing import Any

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations


def drop_index(schema_editor: Any, name: str) -> None:
    """Drop an index if it is there."""
    concurrently = "CONCURRENTLY " if schema_editor.connection.vendor == "postgresql" else ""
    schema_editor.execute(f"DROP INDEX {concurrently}IF EXISTS {schema_editor.quote_name(name)}")


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


class AddIndex(_concurrently(AddIndexConcurrently, migrations.AddIndex)):  # type: ignore[misc]
    """Makes the index anew if it is there: a migration that was interrupted may have left it, whole or invalid."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        drop_index(schema_editor, self.index.name)
        super().database_forwards(app_label, schema_editor, from_state, to_state)


RemoveIndex = _concurrently(RemoveIndexConcurrently, migrations.RemoveIndex)
