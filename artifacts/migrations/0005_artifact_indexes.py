import django.db.models.deletion
from django.db import migrations, models

from common.concurrent_indexes import AddIndex, drop_index

# As Django has named it since the first migration.
INDEX_OF_KEY = "artifacts_artifact_location_id_31fda7cd"


def drop_index_of_key(apps, schema_editor):
    drop_index(schema_editor, INDEX_OF_KEY)


def make_index_of_key(apps, schema_editor):
    schema_editor.execute(f"CREATE INDEX {INDEX_OF_KEY} ON artifacts_artifact (location_id)")


class Migration(migrations.Migration):
    safe_because = "each index is made while others write, and what is dropped serves nobody once artifact_location is there"

    atomic = False

    dependencies = [
        ("artifacts", "0004_upload_skipped"),
    ]

    operations = [
        AddIndex(
            model_name="artifact",
            index=models.Index(fields=["location", "id"], name="artifact_location"),
        ),
        # Not by AlterField, for which SQLite would copy the table.
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(drop_index_of_key, make_index_of_key)],
            state_operations=[
                migrations.AlterField(
                    model_name="artifact",
                    name="location",
                    field=models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="artifacts",
                        to="artifacts.location",
                    ),
                ),
            ],
        ),
        AddIndex(
            model_name="artifact",
            index=models.Index(
                condition=models.Q(("corrupt_at__isnull", False)), fields=["id"], name="artifact_corrupt"
            ),
        ),
        AddIndex(
            model_name="artifact",
            index=models.Index(
                condition=models.Q(("missing_at__isnull", False)), fields=["id"], name="artifact_missing"
            ),
        ),
    ]
