"""The trail as the admin shows it: it can be looked at, and failed events can be sent again; nothing else."""

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from django.utils.html import format_html

from audit import checkpoints, nudge
from audit.events import Action
from audit.models import AuditEvent, AuditEventQuerySet, State

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[AuditEvent]
else:
    ModelAdmin = admin.ModelAdmin

_DIGEST = re.compile(r"(sha256:)?([0-9a-f]{1,64})")
_UNMISTAKABLE = 8  # hex digits that are a digest's rather than part of a file name, when a digest has them

_MEANINGS = {
    State.PENDING: "waits to be published",
    State.PUBLISHED: "the stream has it",
    State.FAILED: "refused for good; see its last error",
    State.LOCAL: "kept here alone: NATS was not configured",
    State.MIRRORED: "taken from the stream, where another published it",
}


_OTHER = "other"
_WORDS: dict[str, str] = {
    Action.UPLOADED: "uploaded",
    Action.DOWNLOADED: "downloaded",
    checkpoints.ACTION: "checkpoint",
}


class ActionFilter(admin.SimpleListFilter):
    title = "action"
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(Action.UPLOADED, "uploaded"), (Action.DOWNLOADED, "downloaded"), (_OTHER, "other")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        if self.value() == _OTHER:
            return queryset.exclude(action__in=list(Action))
        return queryset.filter(action=self.value()) if self.value() else queryset


@admin.register(AuditEvent)
class AuditEventAdmin(ModelAdmin):
    list_display = ["time", "organization", "what", "short_digest", "name", "human_size", "skipped", "badge"]
    list_filter = [ActionFilter, "skipped", "state", "occurred_at"]
    search_fields = ["file_name"]
    search_help_text = "A digest or its first digits, or part of a file name"
    ordering = ["-id"]
    sortable_by = ["time"]  # no index serves another order
    actions = ["retry_failed"]
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    fieldsets = [
        (
            "What happened",
            {
                "fields": [
                    "exact_time",
                    "what",
                    "org_id",
                    "full_digest",
                    "name",
                    "exact_size",
                    "backend",
                    "location",
                    "skipped",
                ]
            },
        ),
        (
            "Delivery",
            {
                "fields": [
                    "badge",
                    "attempts",
                    "last_error",
                    "stream_sequence",
                    "publish_time",
                    "next_try",
                    "subject",
                    "message_id",
                ]
            },
        ),
        ("Payload", {"fields": ["exact_payload", "readable_payload"]}),
    ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEvent | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEvent | None = None) -> bool:
        return False

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Whether the user may have failed events sent again; Django asks it before it offers the action."""
        return request.user.has_perm("audit.retry_auditevent")

    @admin.action(description="Send failed events again", permissions=["retry"])
    def retry_failed(self, request: HttpRequest, queryset: AuditEventQuerySet) -> None:
        """Make those of the chosen events pending that failed; the worker does the rest."""
        count = queryset.order_by().retry_failed()
        nudge.wake()
        if count:
            self.message_user(request, f"Failed events that are pending again: {count}.", messages.SUCCESS)
        else:
            self.message_user(request, "None of these events failed: there is nothing to retry.", messages.WARNING)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AuditEvent], search_term: str
    ) -> tuple[QuerySet[AuditEvent], bool]:
        """Find digests by their index; look through file names only when the term may be meant for one."""
        match = _DIGEST.fullmatch(search_term.strip().lower())
        if match is None:
            return super().get_search_results(request, queryset, search_term)
        prefix, start = match.groups()
        by_digest = queryset.filter(_digest_starts_with(start))
        if prefix or (len(start) >= _UNMISTAKABLE and by_digest.exists()):
            return by_digest, False
        by_name, may_have_duplicates = super().get_search_results(request, queryset, search_term)
        return by_digest | by_name, may_have_duplicates

    @admin.display(description="time (UTC)", ordering="id")
    def time(self, event: AuditEvent) -> str:
        return f"{event.occurred_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"

    @admin.display(description="organization")
    def organization(self, event: AuditEvent) -> str:
        if event.org_id is None:
            return "-"
        return format_html('<code title="{}">{}…</code>', event.org_id, str(event.org_id)[:8])

    @admin.display(description="action")
    def what(self, event: AuditEvent) -> str:
        if event.skipped:
            return "deduplicated"
        if event.action in _WORDS:
            return _WORDS[event.action]
        return render_to_string("admin/cells/file_name.html", {"name": event.action or event.subject})

    @admin.display(description="digest")
    def short_digest(self, event: AuditEvent) -> str:
        if not event.digest:
            return "-"
        return render_to_string("admin/cells/digest.html", {"hex": event.digest, "is_short": True})

    @admin.display(description="digest")
    def full_digest(self, event: AuditEvent) -> str:
        return render_to_string("admin/cells/digest.html", {"hex": event.digest}) if event.digest else "-"

    @admin.display(description="file name")
    def name(self, event: AuditEvent) -> str:
        return render_to_string("admin/cells/file_name.html", {"name": event.file_name})

    @admin.display(description="size")
    def human_size(self, event: AuditEvent) -> str:
        if not event.digest:
            return "-"
        return render_to_string("admin/cells/size.html", {"bytes": event.size_bytes})

    @admin.display(description="size")
    def exact_size(self, event: AuditEvent) -> str:
        return f"{filesizeformat(event.size_bytes)} ({event.size_bytes:,} bytes)" if event.digest else "-"

    @admin.display(description="state")
    def badge(self, event: AuditEvent) -> str:
        state = State(event.state)
        return format_html(
            '<span class="cas-badge cas-badge-{}" title="{}">{}</span>', state.value, _MEANINGS[state], state.label
        )

    @admin.display(description="time")
    def exact_time(self, event: AuditEvent) -> str:
        return _exact(event.occurred_at)

    @admin.display(description="published at")
    def publish_time(self, event: AuditEvent) -> str:
        return _exact(event.published_at) if event.published_at else "-"

    @admin.display(description="next try")
    def next_try(self, event: AuditEvent) -> str:
        """When a worker may take it; what is not pending has no next try."""
        return _exact(event.due_at) if event.state == State.PENDING else "-"

    @admin.display(description="message id")
    def message_id(self, event: AuditEvent) -> str:
        return str(event.event_id)

    @admin.display(description="as published")
    def exact_payload(self, event: AuditEvent) -> str:
        return render_to_string("admin/cells/payload.html", {"lines": [event.payload], "text": event.payload})

    @admin.display(description="readable")
    def readable_payload(self, event: AuditEvent) -> str:
        return render_to_string("admin/cells/payload.html", {"lines": _indented(event.payload).split("\n")})


def _digest_starts_with(start: str) -> Q:
    # As a range, which the index serves on every database; SQLite's LIKE ignores case, and so the index too.
    return Q(digest__gte=start, digest__lt=f"{start}g")


def _indented(payload: str) -> str:
    try:
        return json.dumps(json.loads(payload), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return payload  # others publish anything, and somebody may have changed the row behind our back


def _exact(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} UTC"
