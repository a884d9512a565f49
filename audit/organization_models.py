"""Organizations as people know them, and who may see which; tokens and events know only their UUIDs."""

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models

from common.visible_text import is_invisible, visible


def validate_display_name(name: str) -> None:
    """Raise ValidationError for a name in which not every character can be seen."""
    if any(map(is_invisible, name)):
        raise ValidationError("It holds a control, bidirectional or other invisible character.", code="invisible")


class Organization(models.Model):
    """An organization that transferred something (sealing adds it), that has a name, or that somebody is limited to."""

    org_id = models.UUIDField("organization", primary_key=True)
    display_name = models.CharField(max_length=200, blank=True, validators=[validate_display_name])

    class Meta:
        db_table = "audit_named_organization"  # an index of the events has the name that Django would choose
        ordering = ["display_name", "org_id"]
        indexes = [models.Index(fields=["display_name", "org_id"], name="audit_organization_name")]

    def __str__(self) -> str:
        return visible(self.display_name) or str(self.org_id)


class OrganizationLimit(models.Model):
    """A user who sees these organizations alone. One without a limit sees all; one limited to none sees nothing."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="organization_limit")
    organizations = models.ManyToManyField(Organization, blank=True, related_name="limits")

    def __str__(self) -> str:
        return f"limit of {self.user}"


class OrganizationRanking(models.Model):
    """Who did the most in a preset period, as a worker last found: for periods with too many totals to add up at once.

    One row for each period and measure of audit/organization_ranking.py.
    """

    period = models.CharField(max_length=10)
    measure = models.CharField(max_length=20)
    ranked_at = models.DateTimeField()
    organizations = models.JSONField(help_text="Ids, the most first.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["period", "measure"], name="audit_organization_ranking")]

    def __str__(self) -> str:
        return f"{self.measure} of {self.period}"
