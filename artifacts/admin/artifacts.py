"""Artifacts, which people look at."""

import mimetypes
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from artifacts.admin import by_hand
from artifacts.admin.artifact_list import ArtifactChangeList, NewestPaginator, StateFilter
from artifacts.admin.cells import LocationFilter, ReadOnly, badge, exact, second
from artifacts.exceptions import ArtifactError
from artifacts.models import Artifact
from artifacts.scrub_findings import State
from common.sizes import format_size

if TYPE_CHECKING:
    ArtifactModelAdmin = admin.ModelAdmin[Artifact]
else:
    ArtifactModelAdmin = admin.ModelAdmin


@admin.register(Artifact)
class ArtifactAdmin(ReadOnly, ArtifactModelAdmin):
    list_display = ["created", "short_digest", "name", "human_size", "location", "state", "events"]
    list_filter = [("location", LocationFilter), StateFilter]
    list_select_related = ["location"]
    search_fields = ["file_name"]
    search_help_text = "A digest, 8 or more of its first digits, or part of a file name"
    ordering = ["-id"]
    sortable_by = ["created"]  # no index serves another order
    actions = None
    list_per_page = 50
    list_max_show_all = 0
    paginator = NewestPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    fieldsets = [
        ("What it is", {"fields": ["full_digest", "name", "media_type", "exact_size", "location", "exact_created"]}),
        ("Integrity", {"fields": ["state", "exact_verified", "exact_corrupt", "exact_missing"]}),
    ]

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ArtifactChangeList]:
        return ArtifactChangeList

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        columns = list(self.list_display)
        if not request.user.has_perm("audit.view_auditevent"):
            columns.remove("events")
        return columns

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Artifact], search_term: str
    ) -> tuple[QuerySet[Artifact], bool]:
        """Artifacts whose digest starts with the term, `sha256:` or not, or whose file name has it; by no index."""
        by_name, may_have_duplicates = super().get_search_results(request, queryset, search_term)
        start = search_term.strip().lower().removeprefix("sha256:")
        if not start:
            return by_name, may_have_duplicates
        return queryset.filter(digest__startswith=start) | by_name, may_have_duplicates

    def get_urls(self) -> list[URLPattern]:
        def page(name: str, view: Any) -> URLPattern:
            route: URLPattern = path(
                f"<path:object_id>/{name}/", self.admin_site.admin_view(view), name=f"artifacts_artifact_{name}"
            )
            return route

        return [page("download", self.download_view), page("verify", self.verify_view), *super().get_urls()]

    def has_download_permission(self, request: HttpRequest, artifact: Artifact | None = None) -> bool:
        """Of any artifact, or of this one."""
        return request.user.has_perm("artifacts.download_artifact")

    def has_verify_permission(self, request: HttpRequest) -> bool:
        """Whoever may try a location out may have what is in it read."""
        return request.user.has_perm("artifacts.test_location")

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Django's, with what the user may do."""
        more = {
            "may_download": self.has_download_permission(request),
            "may_verify": self.has_verify_permission(request),
            "most_verified": by_hand.MOST_VERIFIED,
            "subtitle": None,  # the digest stands in the path above, and in the first line
            **(extra_context or {}),
        }
        return super().change_view(request, object_id, form_url, more)

    def download_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """The link of the page: the bytes, or back to the page with what is wrong."""
        if request.method != "GET":
            return HttpResponseNotAllowed(["GET"])
        artifact = self._seen(request, object_id, is_allowed=self.has_download_permission(request))
        if not self.has_download_permission(request, artifact):
            raise PermissionDenied
        try:
            return by_hand.download(request, artifact)
        except ArtifactError as error:
            self.message_user(request, f"It cannot be downloaded. {error}", messages.ERROR)
        return self._page(artifact)

    def verify_view(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """The button of the page: read all of it, and come back with what was found."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        artifact = self._seen(request, object_id, is_allowed=self.has_verify_permission(request))
        if artifact.size_bytes > by_hand.MOST_VERIFIED:
            raise PermissionDenied
        try:
            found = by_hand.verify(request, artifact)
        except ArtifactError as error:
            self.message_user(request, f"It could not be read. {error}", messages.ERROR)
        else:
            is_sound = found.state == State.SOUND
            text = "All of it was read: it matches its digest." if is_sound else f"It was found {found.state.value}."
            self.message_user(request, text, messages.SUCCESS if is_sound else messages.ERROR)
        return self._page(artifact)

    def _seen(self, request: HttpRequest, object_id: str, *, is_allowed: bool) -> Artifact:
        """The artifact, if the user may see it and do this; raises PermissionDenied, Http404."""
        if not (is_allowed and self.has_view_permission(request)):
            raise PermissionDenied
        artifact: Artifact | None = self.get_object(request, unquote(object_id))
        if artifact is None:
            raise Http404
        return artifact

    @staticmethod
    def _page(artifact: Artifact) -> HttpResponseRedirect:
        return HttpResponseRedirect(reverse("admin:artifacts_artifact_change", args=[artifact.pk]))

    @admin.display(description="created (UTC)", ordering="id")
    def created(self, artifact: Artifact) -> str:
        return second(artifact.created_at)

    @admin.display(description="digest")
    def short_digest(self, artifact: Artifact) -> str:
        return render_to_string("admin/cells/digest.html", {"hex": artifact.digest, "is_short": True})

    @admin.display(description="digest")
    def full_digest(self, artifact: Artifact) -> str:
        return render_to_string("admin/cells/digest.html", {"hex": artifact.digest})

    @admin.display(description="file name")
    def name(self, artifact: Artifact) -> str:
        return render_to_string("admin/cells/file_name.html", {"name": artifact.file_name})

    @admin.display(description="media type")
    def media_type(self, artifact: Artifact) -> str:
        """What its name suggests; nobody has looked at its bytes for it, and it is served as none."""
        guess, encoding = mimetypes.guess_type(artifact.file_name)
        return " ".join(filter(None, (guess, encoding and f"({encoding})"))) or "-"

    @admin.display(description="size")
    def human_size(self, artifact: Artifact) -> str:
        return render_to_string("admin/cells/size.html", {"bytes": artifact.size_bytes})

    @admin.display(description="size")
    def exact_size(self, artifact: Artifact) -> str:
        return f"{format_size(artifact.size_bytes)} ({artifact.size_bytes:,} bytes)"

    @admin.display(description="state")
    def state(self, artifact: Artifact) -> str:
        """What was last found of it, and when."""
        for name, time in (("missing", artifact.missing_at), ("corrupt", artifact.corrupt_at)):
            if time is not None:
                return badge(name, name, f"found on {exact(time)}")
        if artifact.verified_at is not None:
            return badge("sound", "sound", f"verified on {exact(artifact.verified_at)}")
        return badge("unverified", "not verified", "Neither an upload nor a scrub has read all of it.")

    @admin.display(description="events")
    def events(self, artifact: Artifact) -> str:
        # By name: this app does not know the one that keeps the trail.
        url = reverse("admin:audit_auditevent_changelist", query={"q": str(artifact)})
        return format_html('<a href="{}" aria-label="Events of {}">Events</a>', url, artifact)

    @admin.display(description="created")
    def exact_created(self, artifact: Artifact) -> str:
        return exact(artifact.created_at)

    @admin.display(description="found corrupt")
    def exact_corrupt(self, artifact: Artifact) -> str:
        return exact(artifact.corrupt_at) if artifact.corrupt_at else "-"

    @admin.display(description="found missing")
    def exact_missing(self, artifact: Artifact) -> str:
        return exact(artifact.missing_at) if artifact.missing_at else "-"

    @admin.display(description="verified")
    def exact_verified(self, artifact: Artifact) -> str:
        return exact(artifact.verified_at) if artifact.verified_at else "-"
