"""Locations, which administrators configure and try out, and artifacts, which they can only look at."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from artifacts.credentials import CredentialsUnreadable
from artifacts.exceptions import ArtifactError
from artifacts.location_form import LocationForm
from artifacts.models import Artifact, Location
from artifacts.storage import open_store
from artifacts.storage.probe import probe

if TYPE_CHECKING:
    ArtifactModelAdmin = admin.ModelAdmin[Artifact]
    LocationModelAdmin = admin.ModelAdmin[Location]
else:
    ArtifactModelAdmin = LocationModelAdmin = admin.ModelAdmin


@admin.register(Location)
class LocationAdmin(LocationModelAdmin):
    list_display = ["name", "backend", "organization", "has_credentials", "updated_at"]
    list_filter = ["backend"]
    search_fields = ["name"]
    ordering = ["backend", "name"]
    show_facets = admin.ShowFacets.NEVER
    actions = ["test_locations"]

    def get_fieldsets(self, request: HttpRequest, obj: Location | None = None) -> Any:
        where = ["name", "backend", "options", "organization"]
        if not self._may_edit(request, obj):
            return [(None, {"fields": [*where, "has_credentials"]})]
        is_set = obj is not None and obj.encrypted_credentials
        credentials = ["new_credentials", *(["remove_credentials"] if is_set else [])]
        return [(None, {"fields": [*where, *credentials]})]

    def get_form(self, request: HttpRequest, obj: Location | None = None, change: bool = False, **kwargs: Any) -> Any:
        # A reader gets no fields to enter anything in.
        form = LocationForm if self._may_edit(request, obj) else forms.ModelForm
        return super().get_form(request, obj, change, **{"form": form, **kwargs})

    def get_readonly_fields(self, request: HttpRequest, obj: Location | None = None) -> list[str]:
        return [] if self._may_edit(request, obj) else ["has_credentials"]

    def _may_edit(self, request: HttpRequest, location: Location | None) -> bool:
        return self.has_add_permission(request) if location is None else self.has_change_permission(request, location)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Say that artifacts are in the way, without loading them all as the admin otherwise would."""
        if protected := [f"The artifacts of {location}" for location in objs if location.artifacts.exists()]:
            return [], {}, set(), protected
        return super().get_deleted_objects(objs, request)

    @admin.display(description="credentials set", boolean=True)
    def has_credentials(self, location: Location) -> bool:
        return bool(location.encrypted_credentials)

    @admin.action(description="Test selected locations", permissions=["change"])
    def test_locations(self, request: HttpRequest, locations: QuerySet[Location]) -> None:
        for location in locations:
            self._test(request, location)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.test_view)
        return [path("<path:object_id>/test/", view, name="artifacts_location_test"), *super().get_urls()]

    def test_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The button of the change page: test the saved location and come back."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        location = self.get_object(request, unquote(object_id))
        if not self.has_change_permission(request, location):
            raise PermissionDenied
        if location is not None:
            self._test(request, location)
        # Which says so when there is none.
        return HttpResponseRedirect(reverse("admin:artifacts_location_change", args=[object_id]))

    def _test(self, request: HttpRequest, location: Location) -> None:
        try:
            probe(open_store(location))
        except (ArtifactError, OSError) as error:
            self.message_user(request, f"{location} failed its test. {_explain(error, location)}", messages.ERROR)
        else:
            self.message_user(
                request, f"{location} works: an artifact was written, read back and deleted.", messages.SUCCESS
            )


class CorruptFilter(admin.SimpleListFilter):
    title = "corrupt"
    parameter_name = "corrupt"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Yes"), ("no", "No")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Artifact]) -> QuerySet[Artifact]:
        value = self.value()
        return queryset.filter(corrupt_at__isnull=value == "no") if value else queryset


@admin.register(Artifact)
class ArtifactAdmin(ArtifactModelAdmin):
    list_display = ["created", "short_digest", "name", "human_size", "location", "corrupt", "events"]
    list_filter = ["location", CorruptFilter]
    list_select_related = ["location"]
    search_fields = ["file_name"]
    search_help_text = "A digest or its first digits, or part of a file name"
    ordering = ["-id"]
    sortable_by = ["created"]  # no index serves another order
    actions = None
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    fields = ["full_digest", "name", "exact_size", "location", "exact_created", "exact_corrupt"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Artifact | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Artifact | None = None) -> bool:
        return False

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        columns = list(self.list_display)
        if not request.user.has_perm("audit.view_auditevent"):
            columns.remove("events")
        return columns

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Artifact], search_term: str
    ) -> tuple[QuerySet[Artifact], bool]:
        """Artifacts whose digest starts with the term, `sha256:` or not, or whose file name has it."""
        by_name, may_have_duplicates = super().get_search_results(request, queryset, search_term)
        start = search_term.strip().lower().removeprefix("sha256:")
        if not start:
            return by_name, may_have_duplicates
        return queryset.filter(digest__startswith=start) | by_name, may_have_duplicates

    @admin.display(description="created (UTC)", ordering="id")
    def created(self, artifact: Artifact) -> str:
        return f"{artifact.created_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"

    @admin.display(description="digest")
    def short_digest(self, artifact: Artifact) -> str:
        return render_to_string("admin/cells/digest.html", {"hex": artifact.digest, "is_short": True})

    @admin.display(description="digest")
    def full_digest(self, artifact: Artifact) -> str:
        return render_to_string("admin/cells/digest.html", {"hex": artifact.digest})

    @admin.display(description="file name")
    def name(self, artifact: Artifact) -> str:
        return render_to_string("admin/cells/file_name.html", {"name": artifact.file_name})

    @admin.display(description="size")
    def human_size(self, artifact: Artifact) -> str:
        return render_to_string("admin/cells/size.html", {"bytes": artifact.size_bytes})

    @admin.display(description="size")
    def exact_size(self, artifact: Artifact) -> str:
        return f"{filesizeformat(artifact.size_bytes)} ({artifact.size_bytes:,} bytes)"

    @admin.display(description="corrupt")
    def corrupt(self, artifact: Artifact) -> str:
        if artifact.corrupt_at is None:
            return ""
        return format_html(
            '<span class="cas-badge cas-badge-corrupt" title="found on {}">corrupt</span>', _exact(artifact.corrupt_at)
        )

    @admin.display(description="events")
    def events(self, artifact: Artifact) -> str:
        # By name: this app does not know the one that keeps the trail.
        url = reverse("admin:audit_auditevent_changelist", query={"q": str(artifact)})
        return format_html('<a href="{}" aria-label="Events of {}">Events</a>', url, artifact)

    @admin.display(description="created")
    def exact_created(self, artifact: Artifact) -> str:
        return _exact(artifact.created_at)

    @admin.display(description="found corrupt")
    def exact_corrupt(self, artifact: Artifact) -> str:
        return _exact(artifact.corrupt_at) if artifact.corrupt_at else "-"


def _exact(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} UTC"


def _explain(error: Exception, location: Location) -> str:
    """What failed and what the storage says of it, without any credential that it repeats."""
    text = str(error)
    if error.__cause__ is not None:
        text += f" {type(error.__cause__).__name__}: {error.__cause__}".removesuffix(": ")
    for secret in _strings_in(_readable_credentials(location)):
        text = text.replace(secret, "…")
    return text


def _readable_credentials(location: Location) -> dict[str, Any]:
    try:
        return location.credentials
    except (CredentialsUnreadable, ImproperlyConfigured):
        return {}  # then no storage can have repeated them either


def _strings_in(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for member in value.values() for text in _strings_in(member)]
    if isinstance(value, list):
        return [text for member in value for text in _strings_in(member)]
    return [value] if isinstance(value, str) and value else []
