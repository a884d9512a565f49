"""Organizations as people know them, and who may see which; tokens and events know only their UUIDs."""

from django.conf import settings
from django.db import models


class Organization(models.Model):
    """An organization that people speak of: one with a name, or one that somebody is limited to."""

    org_id = models.UUIDField("organization", primary_key=True)
    display_name = models.CharField(max_length=200, blank=True)

    class Meta:
        db_table = "audit_named_organization"  # an index of the events has the name that Django would choose
        ordering = ["display_name", "org_id"]

    def __str__(self) -> str:
        return self.display_name or str(self.org_id)


class OrganizationLimit(models.Model):
    """A user who sees these organizations alone. One without a limit sees all; one limited to none sees nothing."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="organization_limit")
    organizations = models.ManyToManyField(Organization, blank=True, related_name="limits")

    def __str__(self) -> str:
        return f"limit of {self.user}"
