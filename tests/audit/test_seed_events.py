"""`manage.py seed_events`: events that look like real ones."""

import io
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from audit.events import Action
from audit.models import AuditEvent
from audit.seeding import events, organizations_of


def seed(**options: Any) -> str:
    out = io.StringIO()
    call_command("seed_events", stdout=out, **options)
    return out.getvalue()


@pytest.mark.django_db
def test_as_many_as_asked_for_within_the_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.management.commands.seed_events.BATCH", 70)
    begun = timezone.now()
    seed(count=500, organizations=3, days=2, state="published", seed=1)
    rows = AuditEvent.objects.all()
    assert len(rows) == 500
    assert {row.state for row in rows} == {"published"}
    assert {row.org_id for row in rows} == set(organizations_of(3))
    assert begun - timedelta(days=2) <= min(row.occurred_at for row in rows)
    assert max(row.occurred_at for row in rows) <= timezone.now()


@pytest.mark.django_db
def test_same_seed_makes_the_same_events_and_another_makes_others() -> None:
    assert seed(count=5, seed=1) == "5 events added; --seed 1 makes them again.\n"
    assert seed(count=7, seed=1) == "2 events added, 5 were there already; --seed 1 makes them again.\n"
    assert AuditEvent.objects.count() == 7
    seed(count=5, seed=2)
    seed(count=5)
    assert AuditEvent.objects.count() == 17


def test_events_come_in_order_of_time_and_of_every_kind() -> None:
    made = list(events(2000, organizations_of(10), timezone.now(), days=7))
    times = [event.timestamp_ns for event in made]
    assert times == sorted(times)
    kinds = Counter((event.action, event.skipped) for event in made)
    assert set(kinds) == {(Action.UPLOADED, False), (Action.UPLOADED, True), (Action.DOWNLOADED, False)}
    busiest = Counter(event.org_id for event in made).most_common(1)[0][1]
    assert busiest > 2000 / 10 * 2


def test_an_artifact_has_one_size_and_name() -> None:
    made = events(2000, organizations_of(1), timezone.now(), days=7)
    artifacts = {event.digest: set[tuple[int, str]]() for event in made}
    for event in events(2000, organizations_of(1), timezone.now(), days=7):
        artifacts[event.digest].add((event.size_bytes, event.file_name))
    assert len(artifacts) < 2000
    assert all(len(found) == 1 for found in artifacts.values())


@pytest.mark.parametrize("options", [{"count": 0}, {"count": 1, "organizations": 0}, {"count": 1, "days": 0}])
def test_nonsense_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(CommandError, match="must be more than 0"):
        seed(**options)
