from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from audit.models import AuditEvent

PASSWORD = "correct horse battery staple"


@pytest.fixture
def person(db: None) -> Callable[..., User]:
    """Makes staff with roles."""

    def make(name: str = "ada", *roles: str, **values: Any) -> User:
        user = User.objects.create_user(name, password=PASSWORD, is_staff=True, **values)
        user.groups.set(Group.objects.filter(name__in=roles))
        return user

    return make


@pytest.fixture
def sign_in() -> Callable[..., Client]:
    """Signs in as people do, and returns the browser, whether or not it worked."""

    def enter(name: str = "ada", password: str = PASSWORD, code: str = "", client: Client | None = None) -> Client:
        client = client or Client()
        client.post("/admin/login/", {"username": name, "password": password, "code": code, "next": "/admin/"})
        return client

    return enter


def is_in(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


def acts(action: str) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action=action).order_by("id"))
