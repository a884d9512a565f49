from django.db import migrations, models

import audit.organization_models


def add_those_with_usage(apps, schema_editor):
    """From now on sealing adds them; one that only the old version meets meanwhile is added with its next event."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_named_organization (org_id, display_name) "
            "SELECT DISTINCT org_id, '' FROM audit_usagetotal WHERE true ON CONFLICT (org_id) DO NOTHING"
        )


class Migration(migrations.Migration):
    safe_because = "its table is as new as this release, and of the old ones it reads one index"

    dependencies = [
        ("audit", "0005_organizations"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="organization",
            index=models.Index(fields=["display_name", "org_id"], name="audit_organization_name"),
        ),
        migrations.AlterField(
            model_name="organization",
            name="display_name",
            field=models.CharField(
                blank=True, max_length=200, validators=[audit.organization_models.validate_display_name]
            ),
        ),
        migrations.RunPython(add_those_with_usage, migrations.RunPython.noop),
    ]
