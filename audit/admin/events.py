"""The trail as the admin shows it: it can be looked at, taken away as a file, and sent again; nothing else."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME, ActionForm
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_POST, require_safe

from audit import access, acts, nudge
from audit.acts import Act
from audit.admin import event_acts, event_columns, files
from audit.admin.event_acts import Count
from audit.admin.event_cells import EventCells, events_url, name_organizations
from audit.admin.event_list import EventChangeList, form_of
from audit.admin.live import Live
from audit.event_filters import EventFilter
from audit.export import pieces
from audit.models import AuditEvent, AuditEventQuerySet
from audit.names import STREAM

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[AuditEvent]
else:
    ModelAdmin = admin.ModelAdmin

_SUBJECT = "audit events"
_SURE = "sure"  # parameter: the user was asked, and said yes


class ChosenForm(ActionForm):
    """For events that were chosen one by one alone: what the filters ask for is matching_view's, which is bounded."""

    select_across = forms.BooleanField(required=False, disabled=True, label="", widget=forms.HiddenInput)


@admin.register(AuditEvent)
class AuditEventAdmin(EventCells, ModelAdmin):
    ordering = ["-occurred_at", "-id"]
    sortable_by = ()  # no index serves another order
    action_form = ChosenForm
    actions = ["retry_failed", "replay"]
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    change_list_template = "admin/audit/auditevent/list.html"
    fieldsets = [
        (
            "What happened",
            {
                "fields": [
                    *("exact_time", "what", "full_organization", "full_digest", "name"),
                    *("exact_size", "backend", "location", "was_skipped"),
                ]
            },
        ),
        (
            "Delivery",
            {
                "fields": [
                    *("badge", "attempts", "error", "stream_sequence", "publish_time"),
                    *("next_try", "subject", "message_id", "position"),
                ]
            },
        ),
        ("Payload", {"fields": ["exact_payload", "readable_payload"]}),
    ]

    # Who may do what

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEvent | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEvent | None = None) -> bool:
        return False

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Whether the user may have failed events sent again; Django asks it before it offers the action."""
        return request.user.has_perm("audit.retry_auditevent")

    def has_replay_permission(self, request: HttpRequest) -> bool:
        """Whether the user may have events published once more."""
        return request.user.has_perm("audit.replay_auditevent")

    def has_export_permission(self, request: HttpRequest) -> bool:
        """Whether the user may take events away as a file."""
        return request.user.has_perm("audit.export_auditevent")

    def get_queryset(self, request: HttpRequest) -> "QuerySet[AuditEvent]":
        return access.within(request.user, super().get_queryset(request))

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> AuditEvent | None:
        event = super().get_object(request, object_id, from_field)
        if event is not None:
            name_organizations([event])
        return event

    def _get_obj_does_not_exist_redirect(self, request: HttpRequest, opts: Any, object_id: str) -> HttpResponse:
        """To the list. Django asks whether it was deleted, which in a trail alarms."""
        message = f"Event {unquote(object_id)} is not in the trail, or not yours to see."
        self.message_user(request, message, messages.WARNING)
        return HttpResponseRedirect(events_url())

    # The list

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[EventChangeList]:
        return EventChangeList

    def get_list_display(self, request: HttpRequest) -> Any:
        return [event_columns.ALWAYS, *event_columns.chosen(request)]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        chosen = event_columns.chosen(request)
        context = {
            "columns": [(name, words, name in chosen) for name, words in event_columns.COLUMNS.items()],
            "may_do_more": self._may_do_more(request),
            **(extra_context or {}),
        }
        answer = super().changelist_view(request, context)
        if isinstance(answer, TemplateResponse) and answer.context_data and "cl" in answer.context_data:
            name_organizations(answer.context_data["cl"].result_list)
        return answer

    @admin.action(description="Send failed events again", permissions=["retry"])
    def retry_failed(self, request: HttpRequest, queryset: AuditEventQuerySet) -> None:
        """Make those of the chosen events pending that failed; the worker does the rest."""
        self._tell(request, Act.RETRIED, queryset.order_by().retry_failed(), "selected")

    @admin.action(description="Publish again (replay to the stream)", permissions=["replay"])
    def replay(self, request: HttpRequest, queryset: AuditEventQuerySet) -> HttpResponse | None:
        """Ask, then make those pending that were published or kept here; never what others published."""
        chosen = queryset.order_by()
        if _SURE not in request.POST:
            fields = [
                ("action", "replay"),
                *((ACTION_CHECKBOX_NAME, key) for key in chosen.values_list("pk", flat=True)),
            ]
            return self._ask(request, Count(chosen.replayable().count(), is_exact=True), fields)
        self._tell(request, Act.REPLAYED, chosen.replay(), "selected")
        return None

    def _ask(self, request: HttpRequest, count: Count, fields: list[tuple[str, Any]]) -> HttpResponse:
        """Whether so many events shall be published once more; who says yes posts these fields, and _SURE."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Publish again?",
            "count": count,
            "stream": STREAM,
            "fields": fields,
            "sure": _SURE,
            "query": request.GET.urlencode(),
        }
        return TemplateResponse(request, "admin/audit/auditevent/replay.html", context)

    def _tell(self, request: HttpRequest, act: Act, count: int, which: str, *, is_all: bool = True) -> None:
        if count:
            acts.record(request, act, _SUBJECT, events=count, which=which)
            nudge.wake()
            self.message_user(request, f"Events that are pending again: {count}.", messages.SUCCESS)
        elif is_all:
            kind = "failed" if act == Act.RETRIED else "were published by us"
            self.message_user(request, f"None of these events {kind}: there is nothing to do.", messages.WARNING)
        if not is_all:
            self.message_user(request, "There are more than one request can do: do it again.", messages.WARNING)

    # All events that the filters ask for

    def get_urls(self) -> list[URLPattern]:
        def view(name: str, function: Any) -> URLPattern:
            route: URLPattern = path(f"{name}/", self.admin_site.admin_view(function), name=f"audit_auditevent_{name}")
            return route

        return [
            view("matching", self.matching_view),
            view("columns", self.columns_view),
            *Live(self, self).urls(),
            *super().get_urls(),
        ]

    def matching_view(self, request: HttpRequest) -> Any:
        """GET: how many events the filters ask for, and what can be done with all of them. POST: do it."""
        if not (self.has_view_permission(request) and self._may_do_more(request)):
            raise PermissionDenied
        return self._do(request) if request.method == "POST" else self._offer(request)

    @method_decorator(require_safe)
    def _offer(self, request: HttpRequest) -> HttpResponse:
        form = form_of(request)
        if not form.is_valid():
            return HttpResponseRedirect(f"{events_url()}?{request.GET.urlencode()}")
        count = event_acts.count(event_acts.until(form.asked(), timezone.now()))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "All matching events",
            "count": count,
            "filters": form.shown(),
            "query": request.GET.urlencode(),
            "may_export": self.has_export_permission(request),
            "may_retry": self.has_retry_permission(request),
            "may_replay": self.has_replay_permission(request),
        }
        return TemplateResponse(request, "admin/audit/auditevent/matching.html", context)

    def _do(self, request: HttpRequest) -> Any:
        form, asked_for = form_of(request), request.POST.get("act", "")
        if not form.is_valid():
            return HttpResponseRedirect(f"{events_url()}?{request.GET.urlencode()}")
        asked = event_acts.until(form.asked(), timezone.now())
        which = "&".join(f"{name}={value}" for name, value in form.given()) or "all"
        if asked_for in files.FORMS and self.has_export_permission(request):
            return self.export(request, asked, asked_for, which)
        if asked_for == "retry" and self.has_retry_permission(request):
            sent = event_acts.retry(asked)
            self._tell(request, Act.RETRIED, sent.events, which, is_all=sent.is_all)
        elif asked_for == "replay" and self.has_replay_permission(request):
            if _SURE not in request.POST:
                return self._ask(request, event_acts.count(event_acts.replayable(asked)), [("act", "replay")])
            sent = event_acts.replay(asked)
            self._tell(request, Act.REPLAYED, sent.events, which, is_all=sent.is_all)
        else:
            raise PermissionDenied
        return HttpResponseRedirect(f"{events_url()}?{request.GET.urlencode()}")

    def export(self, request: HttpRequest, asked: EventFilter, form: str, which: str) -> HttpResponseBase:
        """What is asked for as a file."""
        acts.record(request, Act.EXPORTED, _SUBJECT, which=which, format=form)
        content = (piece.content for piece in pieces(asked, form))
        return files.attachment(content, form, f"audit-events-{timezone.now():%Y%m%dT%H%M%SZ}")

    def _may_do_more(self, request: HttpRequest) -> bool:
        may = (self.has_export_permission, self.has_retry_permission, self.has_replay_permission)
        return any(each(request) for each in may)

    @method_decorator(require_POST)
    def columns_view(self, request: HttpRequest) -> HttpResponse:
        """Keep the columns that the user chose."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        event_columns.choose(request, request.POST.getlist("column"))
        return HttpResponseRedirect(f"{events_url()}?{request.GET.urlencode()}")
