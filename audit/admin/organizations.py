"""Organizations in the admin: a list with their usage, a page of each, and their display names."""

from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from audit import access, acts, organizations, periods
from audit.acts import Act
from audit.admin import organization_files, organization_page, usage_charts
from audit.admin.organization_list import OrganizationChangeList
from audit.models import AuditEvent, Organization, UsageTotal
from audit.organization_ranking import Measure
from audit.usage import Usage
from common.visible_text import visible

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Organization]
    ModelForm = forms.ModelForm[Organization]
else:
    ModelAdmin = admin.ModelAdmin
    ModelForm = forms.ModelForm


class OrganizationForm(ModelForm):
    """Shows even in its field what a name that came here another way hides."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if name := self.initial.get("display_name"):
            self.initial["display_name"] = visible(name)


@admin.register(Organization)
class OrganizationAdmin(ModelAdmin):
    records_itself = True  # for the trail of the organization, with both names
    form = OrganizationForm
    search_fields = ["display_name"]
    search_help_text = "A part of its name, or its id or the first digits of that"
    list_per_page = 50
    show_full_result_count = False
    actions = None
    change_form_template = "admin/audit/organization/change_form.html"
    change_list_template = "admin/audit/organization/change_list.html"

    class Media:
        css = {"all": ["casproject/periods.css", "casproject/organizations.css"]}

    def has_delete_permission(self, request: HttpRequest, obj: Organization | None = None) -> bool:
        """Nobody: sealing would only add it again."""
        return False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whoever is limited would not see what they added."""
        return super().has_add_permission(request) and self.sees_all(request)

    def sees_all(self, request: HttpRequest) -> bool:
        """Whether the user is limited to no organizations."""
        return access.organizations_of(request.user) is None

    def get_urls(self) -> list[URLPattern]:
        """Django's, and the usage as files."""
        wrap = self.admin_site.admin_view
        return [
            path("usage.csv", wrap(self.usage_of_all), name="audit_organization_usage_of_all"),
            path("<uuid:org_id>/usage.csv", wrap(self.usage), name="audit_organization_usage"),
            *super().get_urls(),
        ]

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[OrganizationChangeList]:
        return OrganizationChangeList

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        if not request.user.has_perm("audit.view_usagetotal"):
            return ["name"]
        return ["name", "moved", "uploaded", "downloaded", "saved", "ratio", "transfers"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Organization]:
        return access.within(request.user, super().get_queryset(request), "org_id")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Organization], search_term: str
    ) -> tuple[QuerySet[Organization], bool]:
        return (queryset.filter(organizations.matching(search_term)) if search_term.strip() else queryset), False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Organization | None:
        """The organization; also one that has events or usage and no row yet, for sealing lags behind."""
        found = super().get_object(request, object_id, from_field)
        return found or self._without_row(request, object_id)

    def _without_row(self, request: HttpRequest, object_id: str) -> Organization | None:
        try:
            identifier = UUID(object_id)
        except ValueError:
            return None
        allowed = access.organizations_of(request.user)
        if allowed is not None and identifier not in allowed:
            return None
        has_any = any(model.objects.filter(org_id=identifier).exists() for model in (UsageTotal, AuditEvent))
        return Organization(org_id=identifier) if has_any else None

    def get_readonly_fields(self, request: HttpRequest, obj: Organization | None = None) -> list[str]:
        return ["org_id"] if obj else []

    def get_fieldsets(self, request: HttpRequest, obj: Organization | None = None) -> list[Any]:
        return [("Name", {"fields": ["display_name", "org_id"] if obj else ["org_id", "display_name"]})]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Django's, with what the organization did; what the user may not see is not there."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        organization = self.get_object(request, object_id)
        if organization is None:
            raise Http404
        more = organization_page.context(request, organization)
        more["show_save_and_add_another"] = False
        return super().change_view(request, object_id, form_url, {**more, **(extra_context or {})})

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Django's, with a link to the file of the same usage."""
        more: dict[str, Any] = {"title": "Organizations"}
        if request.user.has_perm("audit.export_usagetotal"):
            period, _ = periods.read(request.GET)
            address = reverse("admin:audit_organization_usage_of_all", query=period.parameters)
            more["usage_file"] = address
        return super().changelist_view(request, {**more, **(extra_context or {})})

    def save_model(self, request: HttpRequest, obj: Organization, form: Any, change: bool) -> None:
        """Save it, and record what it was called before."""
        before = form.initial.get("display_name", "")
        super().save_model(request, obj, form, change)
        if not change:
            acts.record(request, Act.ADDED, obj, org_id=obj.pk, display_name=obj.display_name)
        elif "display_name" in form.changed_data:
            acts.record(request, Act.CHANGED, obj, org_id=obj.pk, before=before, after=obj.display_name)

    def usage(self, request: HttpRequest, org_id: UUID) -> HttpResponseBase:
        """Its usage of a period as CSV."""
        self._check_export(request)
        organization = self.get_object(request, str(org_id))
        if organization is None:
            raise Http404
        return organization_files.usage(request, organization)

    def usage_of_all(self, request: HttpRequest) -> HttpResponseBase:
        """The usage of a period of all organizations that the user may see, as CSV."""
        self._check_export(request)
        return organization_files.usage_of_all(request, self.get_queryset(request))

    def _check_export(self, request: HttpRequest) -> None:
        if not (self.has_view_permission(request) and request.user.has_perm("audit.export_usagetotal")):
            raise PermissionDenied

    @admin.display(description="organization", ordering="name")
    def name(self, organization: Organization) -> str:
        if not organization.display_name:
            return format_html("<code>{}</code>", organization.pk)
        return render_to_string("admin/cells/file_name.html", {"name": organization.display_name})

    @admin.display(description="total", ordering=f"-{Measure.MOVED}")
    def moved(self, organization: Organization) -> str:
        return _bytes(organization, "moved_bytes")

    @admin.display(description="uploaded", ordering=f"-{Measure.UPLOADED}")
    def uploaded(self, organization: Organization) -> str:
        return _bytes(organization, "uploaded_bytes")

    @admin.display(description="downloaded", ordering=f"-{Measure.DOWNLOADED}")
    def downloaded(self, organization: Organization) -> str:
        return _bytes(organization, "downloaded_bytes")

    @admin.display(description="saved by dedup", ordering=f"-{Measure.SAVED}")
    def saved(self, organization: Organization) -> str:
        return _bytes(organization, "saved_bytes")

    @admin.display(description="dedup ratio")
    def ratio(self, organization: Organization) -> str:
        return usage_charts.percent(_usage_of(organization).dedup_ratio)

    @admin.display(description="transfers", ordering=f"-{Measure.TRANSFERS}")
    def transfers(self, organization: Organization) -> str:
        return f"{_usage_of(organization).transfers:,}"


def _usage_of(organization: Organization) -> Usage:
    return cast(Usage, vars(organization)["usage"])


def _bytes(organization: Organization, name: str) -> str:
    count = getattr(_usage_of(organization), name)
    return render_to_string("admin/cells/size.html", {"bytes": count})
