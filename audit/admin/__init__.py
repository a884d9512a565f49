"""The admin's pages: the trail."""

from audit.admin import events

__all__ = ["events"]
