"""The trail and the usage over HTTP, for staff: read only, in pages, as JSON, JSON lines or CSV."""

from collections.abc import Iterable, Sequence
from typing import Any

from rest_framework.filters import BaseFilterBackend
from rest_framework.generics import ListAPIView
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.pagination import BasePagination
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import ValidationError
from rest_framework.utils.urls import replace_query_param

from audit import access, api_cursor, api_pages, api_usage
from audit.api_filters import EventPageQuery, PageQuery
from audit.api_formats import CSV, JSONLines, JSONPage
from audit.api_pages import Position
from audit.api_rows import FIELDS, EventSerializer, event_values
from audit.api_schema import PageSchema, PageWithTotalsSchema, QueryParameters
from audit.event_filters import EventFilter
from audit.models import AuditEvent, UsageTotal


class StaffMayView(BasePermission):
    """Staff with the permission that the view names, as in the admin."""

    def has_permission(self, request: Request, view: Any) -> bool:
        user = request.user
        return bool(user and user.is_staff and user.has_perm(view.permission))


class ByFormatOrAccept(DefaultContentNegotiation):
    """`?format=` decides alone; without it `Accept` does."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderers = list(renderers)
        asked = request.query_params.get("format")
        if asked is None:
            renderer, _ = super().select_renderer(request, renderers, format_suffix)
            return renderer, str(renderer.media_type)
        for renderer in renderers:
            if renderer.format == asked:
                return renderer, str(renderer.media_type)
        raise ValidationError({"format": [f"Not one of {', '.join(str(each.format) for each in renderers)}."]})


class StaffListView(ListAPIView[Any]):
    """What both lists share. The answer's `Link` (RFC 8288) leads to the next page in every format."""

    permission_classes = [StaffMayView]
    renderer_classes = [JSONPage, CSV, JSONLines]
    content_negotiation_class = ByFormatOrAccept
    filter_backends: Sequence[type[BaseFilterBackend]] = [QueryParameters]
    pagination_class: type[BasePagination] | None = PageSchema
    http_method_names = ["get", "head", "options"]
    permission: str
    file_name: str
    query_class: type[PageQuery]
    columns: Sequence[str]

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        content, cursor = self.read(self.query_class.read_url(request.query_params))
        following = replace_query_param(request.build_absolute_uri(), "cursor", cursor) if cursor else None
        headers = {"Cache-Control": "no-store"}
        if following:
            headers["Link"] = f'<{following}>; rel="next"'
        if request.accepted_renderer.format != "json":
            name = f"{self.file_name}.{request.accepted_renderer.format}"
            headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return Response({"next": following, **content}, headers=headers)

    def read(self, query: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
        """The members of the answer and the cursor of the page after."""
        raise NotImplementedError

    def handle_exception(self, exc: Exception) -> Response:
        # Problems are JSON, whatever was asked for.
        self.request.accepted_renderer = JSONRenderer()
        self.request.accepted_media_type = "application/problem+json"
        return super().handle_exception(exc)


class EventsView(StaffListView):
    """Audit events, newest first.

    All filters combine. A page may hold fewer events than `page_size`, even none, and have a `next` all the same:
    filters that no index serves look at 20,000 events a page. The list ends where `next` is null.
    """

    queryset = AuditEvent.objects.none()  # names the model for those who describe the API
    serializer_class = EventSerializer
    permission = "audit.view_auditevent"
    file_name = "events"
    query_class = EventPageQuery
    columns = list(EventSerializer().fields)

    def read(self, query: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
        after = None
        if "cursor" in query:
            after = Position(*api_cursor.decode(query["cursor"], [api_cursor.time, api_cursor.number]))
        asked = EventFilter.of(query).within(access.organizations_of(self.request.user))
        page = api_pages.read_page(asked, FIELDS, query["page_size"], after)
        cursor = api_cursor.encode(page.end) if page.end else None
        return {"results": [event_values(row) for row in page.rows]}, cursor


class UsageView(StaffListView):
    """Bytes and transfers by hour or day and organization, oldest first; `totals` of all that is asked for.

    `totals` comes with the first page, and is null in those after. What happened in the last minute may not be
    counted yet. What would add up more than a million totals (one for each hour or day, organization, location and
    kind of transfer) is refused with 400; by `start`, by `org` in pages that are small enough, or by both, unfiltered,
    everything can be had.
    """

    queryset = UsageTotal.objects.none()
    serializer_class = api_usage.UsageSerializer
    pagination_class = PageWithTotalsSchema
    permission = "audit.view_usagetotal"
    file_name = "usage"
    query_class = api_usage.UsageQuery

    def read(self, query: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
        self.columns = api_usage.columns_of(query)
        allowed = access.organizations_of(self.request.user)
        if allowed is not None:
            query["org"] = [each for each in query.get("org", allowed) if each in allowed]
        after = None
        if "cursor" in query:
            readers = [api_usage.GROUPS[name].read for name in query["group_by"]]
            after = api_cursor.decode(query["cursor"], readers)
        totals = api_usage.read_totals(query) if after is None else None
        page = api_usage.read_page(query, after)
        cursor = api_cursor.encode(page.end) if page.end else None
        return {"totals": totals, "results": page.rows}, cursor
