from django.db import migrations, models

from common.concurrent_indexes import AddIndex


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ("artifacts", "0004_upload_skipped"),
    ]

    operations = [
        AddIndex(
            model_name="artifact",
            index=models.Index(fields=["location", "id"], name="artifact_location"),
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
