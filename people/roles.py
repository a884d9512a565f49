"""The roles of people, and the one of scripts, as groups; each has what those before it have."""

from typing import Any

from django.contrib.auth.models import Group, Permission, User
from django.db import transaction
from django.db.models import Q

SCRIPT = "Script"
ROLES = {
    SCRIPT: ["audit.view_auditevent", "audit.view_usagetotal"],
    "Viewer": [
        "audit.view_organization",
        "artifacts.view_artifact",
        "artifacts.view_location",
    ],
    "Auditor": ["audit.export_auditevent", "audit.export_usagetotal", "artifacts.download_artifact"],
    "Operator": [
        "audit.retry_auditevent",
        "audit.replay_auditevent",
        "artifacts.test_location",
        "artifacts.view_scrub",
        "artifacts.view_resumableupload",
    ],
    "Administrator": [
        "audit.change_organization",
        "audit.view_organizationlimit",
        "audit.add_organizationlimit",
        "audit.change_organizationlimit",
        "audit.delete_organizationlimit",
        "artifacts.add_location",
        "artifacts.change_location",
        "artifacts.delete_location",
        "artifacts.delete_scrub",
        "artifacts.delete_resumableupload",
        "auth.view_user",
        "auth.add_user",
        "auth.change_user",
        "auth.delete_user",
        "auth.view_group",
    ],
}
_LAST_APP = "people"  # of INSTALLED_APPS: the others' permissions are there by then


def permissions_of(role: str) -> list[str]:
    """As `app.codename`; those of the roles before it included."""
    names = list(ROLES)
    return [each for name in names[: names.index(role) + 1] for each in ROLES[name]]


def is_script(user: User) -> bool:
    """Whether it is an account that `/api/` alone lets in, by its password."""
    return user.groups.filter(name=SCRIPT).exists()


def make_roles(sender: Any, **kwargs: Any) -> None:
    """Give each role's group just its permissions; groups that others made are theirs."""
    if sender.name != _LAST_APP:
        return
    using = kwargs["using"]
    with transaction.atomic(using=using):
        for role in ROLES:
            group, _ = Group.objects.using(using).get_or_create(name=role)
            wanted = Q(pk__in=[])
            for each in permissions_of(role):
                app, codename = each.split(".")
                wanted |= Q(content_type__app_label=app, codename=codename)
            group.permissions.set(Permission.objects.using(using).filter(wanted))
