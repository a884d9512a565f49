"""What the pages of this app share."""

from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest
from django.utils.html import format_html


class ReadOnly:
    """Rows that people look at, and the server alone writes."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def badge(kind: str, text: str, title: str) -> str:
    return format_html('<span class="cas-badge cas-badge-{}" title="{}">{}</span>', kind, title, text)


def exact(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} UTC"
