"""Who may do what."""

from collections.abc import Callable

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from audit.models import AuditEvent, OrganizationLimit
from people import roles

pytestmark = pytest.mark.django_db

# The form of his page, as a browser sends it.
BOB = {
    "username": "bob",
    "is_staff": "on",
    "is_active": "on",
    "date_joined_0": "2026-01-01",
    "date_joined_1": "00:00",
    "organization_limit-TOTAL_FORMS": "0",
    "organization_limit-INITIAL_FORMS": "0",
}


def test_each_role_has_its_permissions_and_those_exist() -> None:
    for role in roles.ROLES:
        group = Group.objects.get(name=role)
        have = {f"{each.content_type.app_label}.{each.codename}" for each in group.permissions.all()}
        assert have == set(roles.permissions_of(role)), role


def test_roles_are_set_right_again_and_other_groups_are_left_alone() -> None:
    other = Group.objects.create(name="Ours")
    other.permissions.set(Permission.objects.filter(codename="delete_location"))
    Group.objects.get(name="Viewer").permissions.set(Permission.objects.filter(codename="delete_location"))
    roles.make_roles(apps.get_app_config("people"), using="default")
    assert not Group.objects.get(name="Viewer").permissions.filter(codename="delete_location").exists()
    assert other.permissions.count() == 1


@pytest.mark.parametrize(
    ("role", "path", "status"),
    [
        ("Script", "audit/auditevent/", 302),
        ("Viewer", "audit/auditevent/", 200),
        ("Viewer", "artifacts/location/", 200),
        ("Viewer", "artifacts/location/add/", 403),
        ("Viewer", "audit/auditevent/matching/", 403),
        ("Viewer", "auth/user/", 403),
        ("Auditor", "audit/auditevent/matching/", 200),
        ("Operator", "artifacts/location/add/", 403),
        ("Administrator", "artifacts/location/add/", 200),
        ("Administrator", "auth/user/", 200),
        ("Administrator", "auth/group/add/", 403),
    ],
)
def test_roles_open_their_pages_and_no_others(
    client: Client, person: Callable[..., User], role: str, path: str, status: int
) -> None:
    client.force_login(person("ada", role))
    assert client.get(f"/admin/{path}").status_code == status


def test_an_administrator_makes_nobody_a_superuser(client: Client, person: Callable[..., User]) -> None:
    client.force_login(person("ada", "Administrator"))
    user = person("bob")
    viewer = Group.objects.get(name="Viewer")
    mighty = Group.objects.create(name="Mighty")
    form = {
        **BOB,
        "is_superuser": "on",
        "groups": [str(viewer.pk)],
        "user_permissions": [str(Permission.objects.all()[0].pk)],
    }
    answer = client.post(f"/admin/auth/user/{user.pk}/change/", form)
    assert answer.status_code == 302, answer.context["errors"]
    user.refresh_from_db()
    assert not user.is_superuser
    assert list(user.groups.all()) == [viewer]
    assert not user.user_permissions.exists()
    assert client.post(f"/admin/auth/user/{user.pk}/change/", {**form, "groups": [str(mighty.pk)]}).status_code == 200
    assert list(user.groups.all()) == [viewer]


@pytest.mark.parametrize("path", ["change/", "delete/", "password/"])
def test_an_administrator_touches_no_superuser(client: Client, person: Callable[..., User], path: str) -> None:
    client.force_login(person("ada", "Administrator"))
    root = person("root", is_superuser=True)
    password = root.password
    form = {"username": "root2", "post": "yes", "password1": "aBc!23456789", "password2": "aBc!23456789"}
    assert client.post(f"/admin/auth/user/{root.pk}/{path}", form).status_code == 403
    for action in ("delete_selected", "reset_two_factor", "sign_out"):
        client.post("/admin/auth/user/", {"action": action, "_selected_action": [root.pk], "post": "yes"})
    root.refresh_from_db()
    assert (root.username, root.password) == ("root", password)


def test_an_administrator_who_is_limited_makes_and_changes_no_accounts(
    client: Client, person: Callable[..., User]
) -> None:
    """Another account, or another's password, would show more than their own."""
    ada, bob = person("ada", "Administrator"), person("bob", "Viewer")
    OrganizationLimit.objects.create(user=ada)
    client.force_login(ada)
    assert client.get("/admin/auth/user/").status_code == 200
    assert client.post("/admin/auth/user/add/", {"username": "eve"}).status_code == 403
    for path in ("change/", "delete/", "password/"):
        assert client.post(f"/admin/auth/user/{bob.pk}/{path}", {"post": "yes"}).status_code == 403, path
        assert client.post(f"/admin/auth/user/{ada.pk}/{path}", {"post": "yes"}).status_code == 403, path
    for action in ("delete_selected", "reset_two_factor", "sign_out"):
        client.post("/admin/auth/user/", {"action": action, "_selected_action": [bob.pk], "post": "yes"})
    assert {user.username for user in User.objects.all()} == {"ada", "bob"}
    assert not AuditEvent.objects.filter(action="CASUserSignedOutEverywhere").exists()


def test_an_administrator_leaves_a_user_in_the_groups_that_are_no_roles(
    client: Client, person: Callable[..., User]
) -> None:
    client.force_login(person("ada", "Administrator"))
    user, viewer, ours = person("bob"), Group.objects.get(name="Viewer"), Group.objects.create(name="Ours")
    user.groups.add(ours)
    form = {**BOB, "groups": [str(viewer.pk)]}
    assert client.post(f"/admin/auth/user/{user.pk}/change/", form).status_code == 302
    assert set(user.groups.all()) == {viewer, ours}


def test_a_role_itself_cannot_be_changed(client: Client, person: Callable[..., User]) -> None:
    client.force_login(person("root", is_superuser=True))
    group = Group.objects.get(name="Viewer")
    assert client.post(f"/admin/auth/group/{group.pk}/change/", {"name": "x"}).status_code == 403
    assert client.post(f"/admin/auth/group/{group.pk}/delete/", {"post": "yes"}).status_code == 403
