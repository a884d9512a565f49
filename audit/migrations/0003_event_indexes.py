from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models

# On PostgreSQL nobody who writes events waits while these indexes are made; SQLite has one writer anyway.


def concurrently(operation, plain):
    """The operation, which is the plain one where the database has no CONCURRENTLY."""

    def choose(schema_editor):
        return operation if schema_editor.connection.vendor == "postgresql" else plain

    class Chosen(operation):
        def database_forwards(self, app_label, schema_editor, from_state, to_state):
            choose(schema_editor).database_forwards(self, app_label, schema_editor, from_state, to_state)

        def database_backwards(self, app_label, schema_editor, from_state, to_state):
            choose(schema_editor).database_backwards(self, app_label, schema_editor, from_state, to_state)

    return Chosen


AddIndex = concurrently(AddIndexConcurrently, migrations.AddIndex)
RemoveIndex = concurrently(RemoveIndexConcurrently, migrations.RemoveIndex)


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ("audit", "0002_delivery"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="auditevent",
            options={
                "permissions": [
                    ("retry_auditevent", "Can send failed events again"),
                    ("export_auditevent", "Can export events"),
                    ("replay_auditevent", "Can publish events once more"),
                ],
                "verbose_name": "audit event",
            },
        ),
        AddIndex(
            model_name="auditevent",
            index=models.Index(fields=["digest", "occurred_at", "id"], name="audit_artifact"),
        ),
        AddIndex(
            model_name="auditevent",
            index=models.Index(
                condition=models.Q(("state", "failed")), fields=["occurred_at", "id"], name="audit_failed"
            ),
        ),
        AddIndex(
            model_name="auditevent",
            index=models.Index(
                condition=models.Q(("action__in", ["CASArtifactUploaded", "CASArtifactDownloaded"]), _negated=True),
                fields=["occurred_at", "id"],
                name="audit_other",
            ),
        ),
        RemoveIndex(
            model_name="auditevent",
            name="audit_digest",
        ),
    ]
