"""What the pages of this app share."""

from datetime import UTC, datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html

from artifacts.models import Location


class ReadOnly:
    """Rows that people look at, and the server alone writes."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class LocationFilter(admin.RelatedFieldListFilter):
    """By location, of those that the user may see."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        seen = model_admin.admin_site.get_model_admin(Location).get_queryset(request)
        ids = seen.order_by().values("pk")
        return field.get_choices(include_blank=False, ordering=("backend", "name"), limit_choices_to={"pk__in": ids})


def badge(kind: str, text: str, title: str) -> str:
    return format_html('<span class="cas-badge cas-badge-{}" title="{}">{}</span>', kind, title, text)


def second(time: datetime) -> str:
    """In UTC, as the column's heading says."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def exact(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} UTC"
