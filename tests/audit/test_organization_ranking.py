"""The first organizations of a period: added up at once when there is little, kept by a worker when there is much."""

import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from audit import organization_ranking, organizations, periods, upkeep_tasks
from audit.events import Action
from audit.models import Organization, OrganizationRanking, State, UsageTotal
from audit.organization_ranking import Measure, keep_rankings, ranked
from tests.audit.trails import old_ns, seal_all
from tests.factories import make_row

pytestmark = pytest.mark.django_db

ONE, TWO, THREE = (uuid.UUID(int=number) for number in (1, 2, 3))
EXPECTED = {
    Measure.UPLOADED: [TWO, ONE],
    Measure.DOWNLOADED: [THREE, ONE],
    Measure.SAVED: [ONE],
    Measure.MOVED: [THREE, TWO, ONE],
    Measure.TRANSFERS: [ONE, TWO, THREE],
}


@pytest.fixture(autouse=True)
def _usage() -> None:
    make_row(State.LOCAL, org_id=ONE, size_bytes=1)
    make_row(State.LOCAL, org_id=ONE, size_bytes=1, action=Action.DOWNLOADED)
    make_row(State.LOCAL, org_id=ONE, size_bytes=10**6, skipped=True)
    make_row(State.LOCAL, org_id=TWO, size_bytes=10)
    make_row(State.LOCAL, org_id=THREE, size_bytes=100, action=Action.DOWNLOADED)
    make_row(State.LOCAL, org_id=TWO, size_bytes=10**9, timestamp_ns=old_ns(60))
    seal_all()


def month() -> periods.Period:
    return periods.preset("30d")


@pytest.fixture
def much(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if these totals were too many to be added up at once."""
    monkeypatch.setattr(organization_ranking, "FEW", 0)


@pytest.mark.parametrize("measure", Measure)
def test_little_is_put_in_order_at_once(measure: Measure) -> None:
    assert ranked(measure, month()) == (EXPECTED[measure], None, True)


@pytest.mark.parametrize("measure", Measure)
def test_of_much_the_order_is_the_one_that_a_worker_kept(measure: Measure, much: None) -> None:
    now = timezone.now()
    assert keep_rankings(now) == 4
    assert ranked(measure, month()) == (EXPECTED[measure], now, True)


def test_what_nobody_kept_is_not_known(much: None) -> None:
    assert ranked(Measure.MOVED, month()) == ([], None, False)
    keep_rankings()
    today = timezone.now().date()
    assert not ranked(Measure.MOVED, periods.custom(today - timedelta(days=3), today)).is_known


def test_rankings_are_kept_anew(much: None) -> None:
    keep_rankings()
    make_row(State.LOCAL, org_id=ONE, size_bytes=10**6)
    seal_all()
    keep_rankings()
    assert ranked(Measure.MOVED, month()).organizations == [ONE, THREE, TWO]
    assert OrganizationRanking.objects.count() == 4 * len(Measure)


def test_rankings_of_little_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(organization_ranking, "FEW", 0)
        keep_rankings()
    assert keep_rankings() == 0
    assert not OrganizationRanking.objects.exists()


@pytest.mark.parametrize("kept", [False, True])
def test_some_are_put_in_order_among_themselves(kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if kept:
        monkeypatch.setattr(organization_ranking, "FEW", 0)
        keep_rankings()
    some = Organization.objects.filter(pk__in=[ONE, TWO])
    assert ranked(Measure.MOVED, month(), some).organizations == [TWO, ONE]


@pytest.mark.parametrize("kept", [False, True])
def test_only_the_first_are_put_in_order(kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(organization_ranking, "MOST", 2)
    if kept:
        monkeypatch.setattr(organization_ranking, "FEW", 0)
        keep_rankings()
    assert ranked(Measure.MOVED, month()).organizations == [THREE, TWO]


def test_sizes_that_no_integer_holds_when_added_up_are_ranked() -> None:
    for start in (month().start, month().start + timedelta(days=1), month().start + timedelta(days=2)):
        UsageTotal.objects.create(
            granularity="day", start=start, org_id=ONE, kind="uploaded", transfers=1, bytes=2**62 - 1
        )
    assert ranked(Measure.MOVED, month()).organizations[0] == ONE


def test_list_says_how_its_order_came_to_be(much: None) -> None:
    client = Client()
    client.force_login(User.objects.create_user("admin", is_staff=True, is_superuser=True))
    address = reverse("admin:audit_organization_changelist")
    assert "By name: there is too much usage" in client.get(address).content.decode()
    keep_rankings()
    answer = client.get(address)
    assert f"as of {timezone.now():%Y-%m-%d}" in answer.content.decode()
    assert [row.pk for row in answer.context["cl"].result_list] == [THREE, TWO, ONE]


def test_task_ranks_and_adds_organizations_that_an_older_release_sealed(much: None) -> None:
    Organization.objects.filter(pk=ONE).delete()
    upkeep_tasks.rank_organizations()
    assert Organization.objects.filter(pk=ONE).exists()
    assert ranked(Measure.MOVED, month()).is_known
    assert organizations.add_unknown() == 0
