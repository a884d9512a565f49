"""The front page: what was transferred in a period, by whom, and how events get to the stream."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from audit import access, overview, periods
from audit.admin.charts import Bar, Part, bar_chart
from audit.admin.delivery_health import health
from audit.admin.event_cells import events_url
from audit.admin.usage_charts import percent, shown, uncounted, usage_chart
from audit.overview import Seen, Top
from audit.periods import Period
from audit.usage import Usage, total_of
from common.sizes import format_size


def context(request: HttpRequest) -> dict[str, Any]:
    """For templates/admin/index.html, as far as the user may see it."""
    user, found = request.user, dict[str, Any]()
    seen = access.organizations_of(user)
    sees_events = user.has_perm("audit.view_auditevent")
    if user.has_perm("audit.view_usagetotal"):
        period, problem = periods.read(request.GET)
        found |= {**periods.context(period, request.GET, problem), **_usage(period, seen, has_links=sees_events)}
    if sees_events:
        found["health"] = health(events_url, sees_all=seen is None)
    return found


def _usage(period: Period, seen: Seen, *, has_links: bool) -> dict[str, Any]:
    points = overview.over_time(period, seen)
    urls = [events_url(**periods.bounds(start, start + period.step)) for start in period.starts if has_links]
    top, as_of = overview.top_organizations(period, seen)
    return {
        "figures": _figures(
            period, total_of(points), overview.total(overview.before(period), seen), has_links=has_links
        ),
        "uncounted": uncounted(sees_all=seen is None),
        "chart": usage_chart(period, points, urls),
        "top": _top(period, top) if top else "",
        "top_as_of": as_of,
    }


def _figures(period: Period, now: Usage, before: Usage, *, has_links: bool) -> list[dict[str, str]]:
    def figure(label: str, value: str, change: str, **filters: str) -> dict[str, str]:
        is_linked = has_links and label != "Dedup ratio"
        url = events_url(**period.bounds, **filters) if is_linked else ""
        return {"label": label, "value": value, "detail": change, "url": url}

    return [
        figure(
            "Uploaded",
            format_size(now.uploaded_bytes),
            _change(now.uploaded_bytes, before.uploaded_bytes),
            action="uploaded",
        ),
        figure(
            "Downloaded",
            format_size(now.downloaded_bytes),
            _change(now.downloaded_bytes, before.downloaded_bytes),
            action="downloaded",
        ),
        figure(
            "Saved by dedup",
            format_size(now.saved_bytes),
            _change(now.saved_bytes, before.saved_bytes),
            action="deduplicated",
        ),
        figure(
            "Dedup ratio",
            percent(now.dedup_ratio),
            f"{'none' if before.dedup_ratio is None else percent(before.dedup_ratio)} in the period before",
        ),
        figure("Transfers", f"{now.transfers:,}", _change(now.transfers, before.transfers)),
    ]


def _change(now: int, before: int) -> str:
    """Against the period before, in words."""
    if before <= 0:
        return "nothing in the period before" if now > 0 else "as in the period before"
    share = (now - before) / before
    if abs(share) < 0.005:  # noqa: PLR2004  (half a percent)
        return "as in the period before"
    size = f"{abs(share):.0%}" if abs(share) < 10 else f"{abs(now / before):.0f} times"  # noqa: PLR2004
    return f"{size} {'more' if share > 0 else 'less'} than in the period before"


def _top(period: Period, top: list[Top]) -> Any:
    bars = [
        Bar(
            each.name or str(each.org_id),
            [
                Part("Uploaded", "uploaded", shown(each.usage.uploaded_bytes)),
                Part("Downloaded", "downloaded", shown(each.usage.downloaded_bytes)),
            ],  # what they are ordered by, and no more: the sum is that of the list of organizations
            reverse("admin:audit_organization_change", args=[each.org_id], query=period.parameters),
            f"{each.usage.transfers:,} transfers, {format_size(each.usage.saved_bytes)} saved by dedup",
        )
        for each in top
    ]
    return bar_chart("Top organizations", bars, heading="Organization")
