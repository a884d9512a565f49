"""The release before goes on while the database is migrated: what it reads and writes is there, and may be."""

import datetime
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.apps.registry import Apps
from django.conf import settings
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import connection, migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.migration import Migration
from django.db.migrations.operations.base import Operation
from django.db.models.fields import NOT_PROVIDED

# What the last release ends with; docs/upgrading.md says when these move.
RELEASED = {"artifacts": "0002_data_plane", "audit": "0002_delivery", "people": "0001_initial"}

# Tables that grow with every transfer: nobody may wait while an index of theirs is made.
LARGE = {("artifacts", "artifact"), ("artifacts", "blockhashes"), ("audit", "auditevent")}

_HARMLESS = (
    migrations.CreateModel,
    migrations.AlterModelOptions,
    migrations.AlterModelManagers,
    migrations.AddIndex,
    migrations.RemoveIndex,
    migrations.RenameIndex,
    migrations.RemoveConstraint,
)

SAMPLES: dict[type, Any] = {
    models.CharField: "a",
    models.TextField: "a",
    models.BooleanField: False,
    models.IntegerField: 1,
    models.DateTimeField: datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    models.DateField: datetime.date(2026, 1, 1),
    models.UUIDField: uuid.UUID(int=1),
    models.JSONField: {},
    models.BinaryField: b"\0" * 32,
    models.FloatField: 1.0,
}


def why_unsafe(app: str, operation: Operation) -> str | None:
    """What an operation breaks while the old version runs; None: nothing."""
    if isinstance(operation, migrations.SeparateDatabaseAndState):
        reasons = [why_unsafe(app, each) for each in operation.database_operations]
        return next(filter(None, reasons), None)
    if isinstance(operation, migrations.AddIndex) and (app, operation.model_name_lower) in LARGE:
        is_patient = isinstance(operation, AddIndexConcurrently)
        return None if is_patient else "who writes waits while the index is made: AddIndexConcurrently"
    if isinstance(operation, _HARMLESS):
        return None
    if isinstance(operation, migrations.AddField):
        field = operation.field
        is_optional = field.null or field.db_default is not NOT_PROVIDED or field.many_to_many
        return None if is_optional else "the old version inserts rows without it: null=True, or a db_default"
    return "it changes what the old version reads or writes, as far as can be told"


def new_migrations() -> list[Migration]:
    loader = MigrationLoader(None)
    return [
        migration
        for (app, name), migration in sorted(loader.disk_migrations.items())
        if app in RELEASED and name > RELEASED[app]
    ]


def problems_of(migration: Migration) -> list[str]:
    """What is unsafe in a migration, unless it says why it is not, as `safe_because` of its class."""
    if getattr(migration, "safe_because", ""):
        return []
    reasons = [(each, why_unsafe(migration.app_label, each)) for each in migration.operations]
    return [f"{migration}: {each.describe()}: {reason}" for each, reason in reasons if reason]


def test_no_app_of_ours_is_left_out() -> None:
    ours = {each.label for each in apps.get_app_configs() if Path(each.path).parent == settings.BASE_DIR}
    assert RELEASED.keys() == ours & MigrationLoader(None).migrated_apps


def test_every_new_migration_is_safe_while_the_old_version_runs() -> None:
    assert [problem for each in new_migrations() for problem in problems_of(each)] == []


@pytest.mark.parametrize(
    ("operation", "reason"),
    [
        (migrations.RemoveField("location", "name"), "changes"),
        (migrations.RenameField("location", "name", "title"), "changes"),
        (migrations.DeleteModel("Location"), "changes"),
        (migrations.AlterField("location", "name", models.CharField(max_length=1)), "changes"),
        (migrations.RunSQL("SELECT 1"), "changes"),
        (migrations.AddField("location", "speed", models.IntegerField(default=1)), "db_default"),
        (migrations.AddIndex("artifact", models.Index(fields=["digest"], name="a")), "Concurrently"),
    ],
)
def test_unsafe_operation_is_found(operation: Operation, reason: str) -> None:
    assert reason in str(why_unsafe("artifacts", operation))


@pytest.mark.parametrize(
    "operation",
    [
        migrations.AddField("location", "speed", models.IntegerField(default=1, db_default=1)),
        migrations.AddField("location", "speed", models.IntegerField(null=True)),
        AddIndexConcurrently("artifact", models.Index(fields=["digest"], name="a")),
        migrations.CreateModel("Speed", [("id", models.AutoField(primary_key=True))]),
    ],
)
def test_safe_operation_passes(operation: Operation) -> None:
    assert why_unsafe("artifacts", operation) is None


def released_apps() -> Apps:
    """The models as the last release has them."""
    state = MigrationLoader(connection).project_state(list(RELEASED.items()))
    return state.apps


def make(model: type[models.Model], made: dict[type[models.Model], models.Model]) -> models.Model:
    """A row, written as the last release would: only with the columns that it knows."""
    values: dict[str, Any] = {}
    for field in model._meta.concrete_fields:
        if field.remote_field:
            values[field.name] = made.get(field.remote_field.model) or make(field.remote_field.model, made)
        elif not field.has_default() and not field.null and not isinstance(field, models.AutoField):
            kind = next(kind for kind in type(field).__mro__ if kind in SAMPLES)
            values[field.name] = SAMPLES[kind]
    made[model] = model._default_manager.create(**values)
    return made[model]


@pytest.mark.django_db
def test_the_last_release_writes_and_reads_every_table_of_the_database_as_it_is_now() -> None:
    models_then = [model for name in RELEASED for model in released_apps().get_app_config(name).get_models()]
    assert len(models_then) >= 8
    made: dict[type[models.Model], models.Model] = {}
    for model in models_then:
        row = made.get(model) or make(model, made)
        again = model._default_manager.get(pk=row.pk)
        again.save()
        assert again.pk == row.pk
