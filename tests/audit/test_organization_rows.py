"""Which organizations are known: all that transferred something, and those that people added."""

import importlib
import uuid
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import connection

from audit.models import AuditEvent, Organization, State, UsageTotal
from tests.audit.trails import seal_all
from tests.factories import ORGANIZATION, make_event, make_row

pytestmark = pytest.mark.django_db

OTHER = uuid.UUID(int=2)
CATCH_UP = importlib.import_module("audit.migrations.0006_known_organizations")


def known() -> dict[uuid.UUID, str]:
    return dict(Organization.objects.values_list("org_id", "display_name"))


def test_sealing_adds_organizations_and_leaves_names_alone() -> None:
    Organization.objects.create(org_id=ORGANIZATION, display_name="Acme")
    for organization in (ORGANIZATION, OTHER, OTHER):
        make_row(org_id=organization)
    seal_all()
    assert known() == {ORGANIZATION: "Acme", OTHER: ""}
    make_row(org_id=OTHER)
    seal_all()
    assert known() == {ORGANIZATION: "Acme", OTHER: ""}


def test_events_that_are_not_counted_add_none() -> None:
    make_row(org_id=None)
    row = AuditEvent.of(make_event(org_id=OTHER), State.LOCAL)
    row.action = "CASUserSignedIn"
    row.save()
    seal_all()
    assert known() == {}


def test_migration_adds_those_of_old_totals() -> None:
    Organization.objects.create(org_id=ORGANIZATION, display_name="Acme")
    for hour in range(3):
        for organization in (ORGANIZATION, OTHER):
            start = datetime(2026, 11, 1, hour, tzinfo=UTC)
            UsageTotal.objects.create(
                granularity="hour", start=start, org_id=organization, kind="uploaded", transfers=1, bytes=1
            )
    CATCH_UP.add_those_with_usage(apps, SimpleNamespace(connection=connection))
    assert known() == {ORGANIZATION: "Acme", OTHER: ""}


@pytest.mark.parametrize("name", ["Acme", "Łódź", "名前", "क\u200cष", "👩\u200d💻 Guild", "<b>&amp;", "x" * 200])
def test_name_may_hold_whatever_can_be_seen(name: str) -> None:
    Organization(org_id=OTHER, display_name=name).full_clean()


@pytest.mark.parametrize("char", ["\u202e", "\n", "\x00", "\x1b", "\u200b", "\u2066", "\u2028", "x" * 200])
def test_name_with_what_cannot_be_seen_or_too_long_is_refused(char: str) -> None:
    with pytest.raises(ValidationError):
        Organization(org_id=OTHER, display_name=f"a{char}b").full_clean()
