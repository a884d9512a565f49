"""The admin's pages: the trail, and organizations."""

from audit.admin import events, organization_limits, organizations

__all__ = ["events", "organization_limits", "organizations"]
