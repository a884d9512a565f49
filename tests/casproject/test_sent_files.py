"""The files of the trail's pages: whoever reads them slowly holds places that people have, and no others."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import StreamingHttpResponse
from django.test import Client
from django.urls import reverse

from artifacts.admin import by_hand
from artifacts.admission import Slots
from audit.models import AuditEvent, Organization, State
from casproject import admin
from tests.factories import ORGANIZATION, make_row

pytestmark = pytest.mark.django_db

Send = Callable[[Client], Any]


def export(client: Client) -> Any:
    return client.post(reverse("admin:audit_auditevent_matching"), {"act": "csv"})


def usage(client: Client) -> Any:
    return client.get(reverse("admin:audit_organization_usage", args=[ORGANIZATION]))


def usage_of_all(client: Client) -> Any:
    return client.get(reverse("admin:audit_organization_usage_of_all"))


@pytest.fixture
def slots(monkeypatch: pytest.MonkeyPatch) -> Slots:
    slots = Slots(4)
    monkeypatch.setattr(admin, "TRANSFERS", slots)
    return slots


@pytest.fixture(autouse=True)
def _event() -> None:
    Organization.objects.create(pk=ORGANIZATION)
    make_row(State.LOCAL)


@pytest.mark.parametrize("send", [export, usage, usage_of_all])
class TestSlots:
    def test_a_file_holds_one_until_it_is_read(self, admin_client: Client, slots: Slots, send: Send) -> None:
        answer = send(admin_client)
        assert isinstance(answer, StreamingHttpResponse)
        assert slots.taken == 1
        assert answer.getvalue()
        assert slots.taken == 0

    def test_one_that_nobody_reads_is_let_go(self, admin_client: Client, slots: Slots, send: Send) -> None:
        send(admin_client).close()
        assert slots.taken == 0

    def test_people_leave_some_for_clients(self, admin_client: Client, slots: Slots, send: Send) -> None:
        held = [slots.take(by_hand.PEOPLE) for _ in range(3)]
        answer = send(admin_client)
        assert (answer.status_code, answer["Retry-After"]) == (503, "5")
        assert AuditEvent.objects.count() == 1, "what was refused is not in the trail"
        held[0].release()
        assert send(admin_client).getvalue()

    def test_who_may_not_have_it_holds_none(self, client: Client, slots: Slots, send: Send) -> None:
        client.force_login(User.objects.create_user("nobody", is_staff=True))
        assert send(client).status_code == 403
        assert slots.taken == 0


def test_a_file_of_no_period_holds_no_slot(admin_client: Client, slots: Slots) -> None:
    address = reverse("admin:audit_organization_usage_of_all", query={"period": "ever"})
    assert admin_client.get(address).status_code == 400
    assert slots.taken == 0
