"""What columns of the list, and fields of an event's page, show of an event."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import urlencode

from django.contrib import admin
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html

from audit import organizations
from audit.event_words import plain_word, words_of
from audit.events import Action
from audit.models import AuditEvent, State
from common.sizes import format_size

_MEANINGS = {
    State.PENDING: "waits to be published",
    State.PUBLISHED: "the stream has it",
    State.FAILED: "refused for good; see its last error",
    State.LOCAL: "kept here alone: NATS was not configured",
    State.MIRRORED: "taken from the stream, where another published it",
}


def name_organizations(events: Iterable[AuditEvent]) -> None:
    """Give each event the name of its organization, which the cells show, by one query."""
    events = list(events)
    names = organizations.names_of(event.org_id for event in events)
    for event in events:
        if event.org_id in names:
            event.organization_name = names[event.org_id]  # type: ignore[attr-defined]


def events_url(**filters: object) -> str:
    """The list of events, with these filters."""
    address = reverse("admin:audit_auditevent_changelist")
    return f"{address}?{urlencode(filters)}" if filters else address


class EventCells:
    """Mixed into the admin of events; `name_organizations` comes before."""

    @admin.display(description="time (UTC)")
    def time(self, event: AuditEvent) -> str:
        return f"{event.occurred_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"

    @admin.display(description="organization")
    def organization(self, event: AuditEvent) -> str:
        if event.org_id is None:
            return "-"
        if name := getattr(event, "organization_name", ""):
            return render_to_string("admin/cells/file_name.html", {"name": name})
        return format_html('<code title="{}">{}…</code>', event.org_id, str(event.org_id)[:8])

    @admin.display(description="organization")
    def full_organization(self, event: AuditEvent) -> str:
        if event.org_id is None:
            return "-"
        names = {"org_id": event.org_id, "name": getattr(event, "organization_name", "")}
        page = render_to_string("admin/cells/organization.html", names)
        return format_html('{} · <a href="{}">its events</a>', page, events_url(organization=event.org_id))

    @admin.display(description="action")
    def what(self, event: AuditEvent) -> str:
        word = plain_word(event)
        return word or render_to_string("admin/cells/file_name.html", {"name": words_of(event)})

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
        return f"{format_size(event.size_bytes)} ({event.size_bytes:,} bytes)" if event.digest else "-"

    @admin.display(description="skipped")
    def was_skipped(self, event: AuditEvent) -> str:
        """Only of an upload, which alone can be."""
        if event.action != Action.UPLOADED:
            return "-"
        return "yes" if event.skipped else "no"

    @admin.display(description="location")
    def place(self, event: AuditEvent) -> str:
        text = f"{event.backend}/{event.location}" if event.backend or event.location else ""
        return render_to_string("admin/cells/file_name.html", {"name": text})

    @admin.display(description="state")
    def badge(self, event: AuditEvent) -> str:
        state = State(event.state)
        return format_html(
            '<span class="cas-badge cas-badge-{}" title="{}">{}</span>', state.value, _MEANINGS[state], state.label
        )

    @admin.display(description="sequence")
    def sequence(self, event: AuditEvent) -> str:
        return "-" if event.stream_sequence is None else str(event.stream_sequence)

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

    @admin.display(description="last error")
    def error(self, event: AuditEvent) -> str:
        return render_to_string("admin/cells/file_name.html", {"name": event.last_error})

    @admin.display(description="message id")
    def message_id(self, event: AuditEvent) -> str:
        return str(event.event_id)

    @admin.display(description="as published")
    def exact_payload(self, event: AuditEvent) -> str:
        return render_to_string("admin/cells/payload.html", {"lines": [event.payload], "text": event.payload})

    @admin.display(description="readable")
    def readable_payload(self, event: AuditEvent) -> str:
        return render_to_string("admin/cells/payload.html", {"lines": _indented(event.payload).split("\n")})


def _indented(payload: str) -> str:
    try:
        return json.dumps(json.loads(payload), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return payload  # others publish anything, and somebody may have changed the row behind our back


def _exact(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} UTC"
