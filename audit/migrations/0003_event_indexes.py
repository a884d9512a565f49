from django.db import migrations, models

from common.concurrent_indexes import AddIndex, RemoveIndex


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
