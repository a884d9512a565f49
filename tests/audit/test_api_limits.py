"""`/api/` shows a limited user no more than the admin does."""

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from audit.models import Organization, OrganizationLimit, State
from tests.audit.trails import seal_all
from tests.factories import make_row

pytestmark = pytest.mark.django_db

MINE, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)


@pytest.fixture(autouse=True)
def _events() -> None:
    for organization, size in ((MINE, 10), (OTHER, 100), (None, 1000)):
        make_row(State.LOCAL, org_id=organization, size_bytes=size)
    seal_all()


def answer(limited_to: list[uuid.UUID], address: str, **query: Any) -> Any:
    user = User.objects.create_user("limited", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="audit"))
    OrganizationLimit.objects.create(user=user).organizations.set(Organization.objects.filter(pk__in=limited_to))
    client = Client()
    client.force_login(user)
    return client.get(address, query).json()


@pytest.mark.parametrize(
    ("limited_to", "query", "sizes"),
    [
        ([MINE], {}, [10]),
        ([MINE], {"org": str(MINE)}, [10]),
        ([MINE], {"org": str(OTHER)}, []),
        ([MINE], {"file_name": "content"}, [10]),
        ([MINE, OTHER], {}, [100, 10]),
        ([], {}, []),
        ([], {"org": str(MINE)}, []),
    ],
)
def test_events(limited_to: list[uuid.UUID], query: dict[str, str], sizes: list[int]) -> None:
    rows = answer(limited_to, "/api/events/", **query)["results"]
    assert [row["size_bytes"] for row in rows] == sizes


@pytest.mark.parametrize(
    ("limited_to", "query", "total"),
    [
        ([MINE], {}, 10),
        ([MINE], {"org": str(MINE)}, 10),
        ([MINE], {"org": [str(MINE), str(OTHER)]}, 10),
        ([MINE], {"org": str(OTHER)}, 0),
        ([MINE, OTHER], {}, 110),
        ([], {}, 0),
    ],
)
def test_usage(limited_to: list[uuid.UUID], query: dict[str, str], total: int) -> None:
    found = answer(limited_to, "/api/usage/", **query)
    assert found["totals"]["uploaded_bytes"] == total
    assert sum(row["uploaded_bytes"] for row in found["results"]) == total
