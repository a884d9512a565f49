"""Limits of what users see: given on their page or in a list, each recorded, and never by who is limited."""

import json
import uuid
from typing import Any

import pytest
from django.contrib.admin import site
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.test import Client, RequestFactory
from django.urls import reverse

from audit import access
from audit.admin.organization_limits import OrganizationLimitInline
from audit.models import AuditEvent, Organization, OrganizationLimit

pytestmark = pytest.mark.django_db

ONE, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)
LIST = reverse("admin:audit_organizationlimit_changelist")
ADD = reverse("admin:audit_organizationlimit_add")


@pytest.fixture(autouse=True)
def _organizations() -> None:
    Organization.objects.create(org_id=ONE, display_name="One")
    Organization.objects.create(org_id=OTHER)


@pytest.fixture
def viewer() -> User:
    return User.objects.create_user("viewer", is_staff=True)


@pytest.fixture
def admin_client() -> Client:
    client = Client()
    client.force_login(User.objects.create_user("admin", is_staff=True, is_superuser=True))
    return client


def page_of(limit: OrganizationLimit, name: str = "change") -> str:
    return reverse(f"admin:audit_organizationlimit_{name}", args=[limit.pk])


def acts() -> list[tuple[str, dict[str, Any]]]:
    rows = [json.loads(row.payload)["Data"] for row in AuditEvent.objects.order_by("id")]
    return [(row["ActionType"], row["Info"]) for row in rows if row["TargetType"] == "CASOrganizationLimit"]


def save_user(client: Client, user: User, **values: Any) -> Any:
    """Post the page of a user as it is, with these values of the limit's form."""
    address = reverse("admin:auth_user_change", args=[user.pk])
    page = client.get(address)
    form = page.context["adminform"].form
    data = {name: value for name, value in form.initial.items() if isinstance(value, str) and value}
    data |= {"date_joined_0": "2026-11-01", "date_joined_1": "00:00:00", "is_active": "on", "is_staff": "on"}
    for inline in page.context["inline_admin_formsets"]:
        formset = inline.formset
        count = formset.initial_form_count()
        data |= {f"{formset.prefix}-TOTAL_FORMS": str(max(1, count)), f"{formset.prefix}-INITIAL_FORMS": str(count)}
        if count and formset.prefix == "organization_limit":
            data[f"{formset.prefix}-0-id"] = str(formset.forms[0].instance.pk)
    data |= {f"organization_limit-0-{name}": value for name, value in values.items()}
    data["organization_limit-0-user"] = str(user.pk)
    return client.post(address, data)


def test_limit_is_given_on_the_page_of_a_user(admin_client: Client, viewer: User) -> None:
    assert access.organizations_of(viewer) is None
    assert save_user(admin_client, viewer, is_limited="on", organizations=[str(ONE)]).status_code == 302
    assert access.organizations_of(viewer) == frozenset([ONE])
    (act,) = acts()
    assert act[0] == "CASOrganizationLimitAdded"
    assert act[1]["target_name"] == "viewer"
    assert act[1]["organizations"] == [str(ONE)]


def test_limit_to_none_can_be_given(admin_client: Client, viewer: User) -> None:
    assert save_user(admin_client, viewer, is_limited="on").status_code == 302
    assert access.organizations_of(viewer) == frozenset()
    assert acts()[0][1]["count"] == 0


def test_user_without_a_limit_is_saved_without_one(admin_client: Client, viewer: User) -> None:
    assert save_user(admin_client, viewer).status_code == 302
    assert access.organizations_of(viewer) is None
    assert acts() == []


def test_organizations_without_the_box_ticked_are_refused(admin_client: Client, viewer: User) -> None:
    answer = save_user(admin_client, viewer, organizations=[str(ONE)])
    assert answer.status_code == 200
    assert b"Tick the box" in answer.content
    assert access.organizations_of(viewer) is None


def test_limit_is_changed_and_taken_away(admin_client: Client, viewer: User) -> None:
    limit = OrganizationLimit.objects.create(user=viewer)
    limit.organizations.set(Organization.objects.filter(pk=ONE))
    save_user(admin_client, viewer, is_limited="on", organizations=[str(OTHER)])
    assert access.organizations_of(viewer) == frozenset([OTHER])
    save_user(admin_client, viewer, is_limited="on", organizations=[str(OTHER)])  # nothing changed
    save_user(admin_client, viewer)
    assert access.organizations_of(viewer) is None
    assert [name for name, _ in acts()] == ["CASOrganizationLimitChanged", "CASOrganizationLimitDeleted"]
    assert acts()[1][1]["organizations"] == [str(OTHER)]


def test_limits_are_listed_given_and_taken_away(admin_client: Client, viewer: User) -> None:
    admin_client.post(ADD, {"user": viewer.pk, "organizations": [str(ONE)]})
    limit = OrganizationLimit.objects.get(user=viewer)
    assert b"One" in admin_client.get(LIST).content
    admin_client.post(page_of(limit), {"organizations": []})
    assert access.organizations_of(viewer) == frozenset()
    assert b"none: sees nothing" in admin_client.get(LIST).content
    admin_client.post(page_of(limit, "delete"), {"post": "yes"})
    assert access.organizations_of(viewer) is None
    assert [name.removeprefix("CASOrganizationLimit") for name, _ in acts()] == ["Added", "Changed", "Deleted"]


def test_whoever_is_limited_gives_no_limits(viewer: User) -> None:
    limit = OrganizationLimit.objects.create(user=viewer)
    viewer.user_permissions.set(Permission.objects.filter(content_type__app_label__in=["audit", "auth"]))
    client = Client()
    client.force_login(viewer)
    for address in (LIST, ADD, page_of(limit), page_of(limit, "delete")):
        assert client.get(address).status_code == 403
    assert client.post(page_of(limit), {"organizations": [str(ONE)]}).status_code == 403
    page = client.get(reverse("admin:auth_user_change", args=[viewer.pk]))
    assert b"organization_limit-0" not in page.content
    limit.delete()
    assert client.get(LIST).status_code == 200


def test_limit_without_the_permissions_is_not_given(viewer: User) -> None:
    request = RequestFactory().get("/")
    request.user = viewer
    assert not OrganizationLimitInline(User, site).has_add_permission(request, None)
    request.user = AnonymousUser()
    assert not OrganizationLimitInline(User, site).has_view_permission(request)
