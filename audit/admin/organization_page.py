"""What the page of an organization shows: its usage of a period, where and of what, and its latest events."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from audit import access, organization_events, organization_usage, periods
from audit.admin import event_cells
from audit.admin.charts import Bar, Part, bar_chart
from audit.admin.usage_charts import percent, shown, uncounted, usage_chart
from audit.event_words import words_of
from audit.models import AuditEvent, Organization
from audit.organization_events import ArtifactUse
from audit.organization_usage import LocationUsage
from audit.periods import Period
from audit.usage import Usage, total_of
from common.sizes import format_size


class Figure(NamedTuple):
    """A number with what it means, and where its events are ("" when the user may not see them)."""

    label: str
    value: str
    detail: str
    url: str = ""


class Recent(NamedTuple):
    """A row of the latest events."""

    event: AuditEvent
    words: str
    url: str


def context(request: HttpRequest, organization: Organization) -> dict[str, Any]:
    """For templates/admin/audit/organization/change_form.html, as far as the user may see it."""
    period, problem = periods.read(request.GET)
    found: dict[str, Any] = {
        "subtitle": None,
        "title": str(organization),
        **periods.context(period, request.GET, problem),
    }
    user = request.user
    sees_events = user.has_perm("audit.view_auditevent")
    if user.has_perm("audit.view_usagetotal"):
        found |= _usage(organization.pk, period, has_links=sees_events)
        found["uncounted"] = uncounted(sees_all=access.organizations_of(user) is None)
        if user.has_perm("audit.export_usagetotal"):
            address = reverse("admin:audit_organization_usage", args=[organization.pk], query=period.parameters)
            found["usage_file"] = address
    if sees_events:
        found["top"] = organization_events.top_artifacts(organization.pk, period)
        found["top_tables"] = [
            ("Most downloaded", "down", _rows(found["top"].by_downloads, "downloaded_bytes", organization.pk)),
            ("Most bytes", "up and down", _rows(found["top"].by_bytes, "moved_bytes", organization.pk)),
        ]
        found["recent"] = [_recent(event) for event in organization_events.recent_events(organization.pk)]
        found["events_url"] = events_url(organization.pk)
    return found


def events_url(organization: UUID, **filters: str) -> str:
    """The list of events with the filters set to this organization's."""
    return event_cells.events_url(organization=organization, **filters)


def _usage(organization: UUID, period: Period, *, has_links: bool) -> dict[str, Any]:
    points = organization_usage.over_time(organization, period)
    locations = organization_usage.by_location(organization, period)
    urls = [
        events_url(organization, **periods.bounds(start, start + period.step)) for start in period.starts if has_links
    ]
    return {
        "figures": _figures(organization, period, total_of(points), has_links=has_links),
        "chart": usage_chart(period, points, urls),
        "locations": _locations(organization, period, locations, has_links=has_links) if locations else "",
    }


def _figures(organization: UUID, period: Period, usage: Usage, *, has_links: bool) -> list[Figure]:
    def url(**filters: str) -> str:
        return events_url(organization, **period.bounds, **filters) if has_links else ""

    uploaded, downloaded, saved = map(format_size, (usage.uploaded_bytes, usage.downloaded_bytes, usage.saved_bytes))
    skipped = _times(usage.skipped_uploads, "skipped upload")
    return [
        Figure("Uploaded", uploaded, _times(usage.uploads, "upload"), url(action="uploaded")),
        Figure("Downloaded", downloaded, _times(usage.downloads, "download"), url(action="downloaded")),
        Figure("Saved by dedup", saved, skipped, url(action="deduplicated")),
        Figure("Dedup ratio", percent(usage.dedup_ratio), "of the bytes to be uploaded"),
        Figure("Transfers", f"{usage.transfers:,}", "skipped uploads included", url()),
    ]


def _locations(
    organization: UUID, period: Period, locations: Sequence[LocationUsage], *, has_links: bool
) -> SafeString:
    bars = []
    for backend, location, usage in locations:
        filters = {"backend": backend, "location": location}
        bars.append(
            Bar(
                location or "(no name)",
                [
                    Part("Uploaded", "uploaded", shown(usage.uploaded_bytes)),
                    Part("Downloaded", "downloaded", shown(usage.downloaded_bytes)),
                ],
                events_url(organization, **period.bounds, **filters) if has_links and location else "",
                f"{backend}, {_times(usage.transfers, 'transfer')}",
            )
        )
    return bar_chart("Locations", bars, heading="Location")


def _rows(uses: Sequence[ArtifactUse], measure: str, organization: UUID) -> list[tuple[ArtifactUse, str, int]]:
    """Each with where its events are, and how many bytes are shown."""
    return [(use, events_url(organization, digest=use.digest), shown(getattr(use.usage, measure))) for use in uses]


def _recent(event: AuditEvent) -> Recent:
    return Recent(event, words_of(event), reverse("admin:audit_auditevent_change", args=[event.pk]))


def _times(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
