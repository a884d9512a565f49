"""Which organizations' history a person may see. Every page, export and total asks here."""

from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet

from audit.organization_models import OrganizationLimit

_Row = TypeVar("_Row", bound=Model)


def organizations_of(user: Any) -> frozenset[UUID] | None:
    """The organizations that a user is limited to; None: the user sees all. One short query for each call."""
    if user.is_superuser:
        return None
    limit = OrganizationLimit.objects.filter(user_id=user.pk).first()
    return None if limit is None else frozenset(limit.organizations.values_list("pk", flat=True))


def sees_all(user: Any) -> bool:
    """Whether a user is limited to no organizations."""
    return organizations_of(user) is None


def within(user: Any, rows: QuerySet[_Row], field: str = "org_id") -> QuerySet[_Row]:
    """Of these rows, the ones that the user may see by the organization in `field`."""
    organizations = organizations_of(user)
    return rows if organizations is None else rows.filter(**{f"{field}__in": organizations})
