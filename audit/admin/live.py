"""The newest events as they arrive: a page, and what its script asks for every few seconds.

Short polling rather than server-sent events: under WSGI a connection that stays open holds a thread, and a web process
has a bounded number of them (CAS_WEB_THREADS), which transfers need. An answer here takes a few milliseconds.

Events are followed by id, the order in which they reach the trail, and not by the time they occurred: one that comes
late, out of the write-ahead log or from the stream, is new all the same. On PostgreSQL a smaller id may be committed
after a larger one; so the script asks again for what came in the last seconds, and knows what it has (live.js).
"""

from typing import Any

from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.db.models import BooleanField, Case, Q, Value, When
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from audit.admin.event_cells import EventCells, events_url, name_organizations
from audit.admin.event_list import form_of
from audit.models import AuditEvent

MOST = 100  # events of one answer
LOOKED_AT = 20_000  # of the newest, whatever is asked for
AGAIN = 100  # of the newest that a page asks for first: what is being committed while it is made is among them

_COLUMNS = {
    "organization": "Organization",
    "what": "Action",
    "short_digest": "Digest",
    "name": "File name",
    "human_size": "Size",
    "badge": "State",
}


class Live:
    """The views, of the admin that shows the list."""

    def __init__(self, admin: "ModelAdmin[AuditEvent]", cells: EventCells) -> None:
        self._admin = admin
        self._cells = cells

    def urls(self) -> list[URLPattern]:
        """The page, and its fragment."""
        view = self._admin.admin_site.admin_view
        return [
            path("live/", view(self.page), name="audit_auditevent_live"),
            path("live/events/", view(self.events), name="audit_auditevent_live_events"),
        ]

    @method_decorator([require_safe, never_cache])
    def page(self, request: HttpRequest) -> HttpResponse:
        """With the newest events, for whoever has no script; the filters are those of the list's URL."""
        self._require_permission(request)
        form, newest = form_of(request), _newest()
        rows, _ = self._read(form.asked().condition(), after=0, newest=newest)
        query = request.GET.urlencode()
        context = {
            **self._admin.admin_site.each_context(request),
            "opts": AuditEvent._meta,
            "title": "Live events",
            "columns": _COLUMNS.items(),
            "rows": rows,
            "after": max(newest - AGAIN, 0),
            "newest": newest,
            "filters": form.shown(),
            "errors": form.errors,
            "list": f"{events_url()}?{query}",
            "source": f"{reverse('admin:audit_auditevent_live_events')}?{query}",
        }
        return TemplateResponse(request, "admin/audit/auditevent/live.html", context)

    @method_decorator([require_safe, never_cache])
    def events(self, request: HttpRequest) -> HttpResponse:
        """JSON: `rows` ({`id`, `html`}, newest first) with ids above `after`; `newest` id of all; `is_cut`: not all."""
        self._require_permission(request)
        text = request.GET.get("after", "")
        if not (text.isascii() and text.isdigit() and len(text) < 19):  # noqa: PLR2004  (digits of a BIGINT)
            return JsonResponse({"error": "after must be an event's id"}, status=400)
        newest = _newest()
        rows, is_cut = self._read(form_of(request).asked().condition(), after=int(text), newest=newest)
        return JsonResponse({"rows": rows, "newest": newest, "is_cut": is_cut})

    def _read(self, condition: Q, *, after: int, newest: int) -> tuple[list[dict[str, Any]], bool]:
        """The newest that are asked for, of at most LOOKED_AT; and whether more than these may have been."""
        edge = newest - LOOKED_AT
        events = AuditEvent.objects.filter(pk__gt=max(after, edge)).order_by("-pk").defer("link")
        if condition:
            # As a CASE, which no index serves: else a database may take one, and look through all that it leads to.
            asked_for = Case(
                When(condition, then=Value(value=True)), default=Value(value=False), output_field=BooleanField()
            )
            events = events.filter(asked_for)
        found = list(events[: MOST + 1])
        return self._rendered(found[:MOST]), len(found) > MOST or 0 < after < edge

    def _rendered(self, events: list[AuditEvent]) -> list[dict[str, Any]]:
        name_organizations(events)
        return [{"id": event.pk, "html": self._row(event)} for event in events]

    def _row(self, event: AuditEvent) -> str:
        cells = [(name, getattr(self._cells, name)(event)) for name in _COLUMNS]
        context = {"event": event, "time": self._cells.time(event), "cells": cells}
        return render_to_string("admin/audit/auditevent/live_row.html", context)

    def _require_permission(self, request: HttpRequest) -> None:
        if not self._admin.has_view_permission(request):
            raise PermissionDenied


def _newest() -> int:
    """The greatest id there is."""
    return AuditEvent.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
