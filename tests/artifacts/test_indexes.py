"""Indexes that migrations make while others write, and those that uploads keep up. On both databases."""

import pytest
from django.db import connection, models
from django.db.migrations.loader import MigrationLoader

from artifacts.models import Artifact
from common.concurrent_indexes import AddIndex, drop_index

TABLE = Artifact._meta.db_table
NAME = "left_behind"


def indexes() -> dict[str, list[str]]:
    """The columns of each, but for the unique ones."""
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, TABLE)
    return {name: each["columns"] for name, each in constraints.items() if each["index"] and not each["unique"]}


@pytest.mark.django_db(transaction=True)
def test_index_that_an_interrupted_migration_left_is_made_anew() -> None:
    before = MigrationLoader(connection).project_state()
    operation = AddIndex("artifact", models.Index(fields=["size_bytes"], name=NAME))
    after = before.clone()
    operation.state_forwards("artifacts", after)
    with connection.schema_editor(atomic=False) as editor:
        editor.execute(f"CREATE INDEX {NAME} ON {TABLE} (digest)")
        try:
            operation.database_forwards("artifacts", editor, before, after)
            assert indexes()[NAME] == ["size_bytes"]
        finally:
            drop_index(editor, NAME)


@pytest.mark.django_db
def test_an_upload_keeps_up_one_index_of_locations() -> None:
    assert [name for name, columns in indexes().items() if columns[0] == "location_id"] == ["artifact_location"]
