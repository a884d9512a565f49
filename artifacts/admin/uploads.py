"""Resumable uploads, which administrators can look at and give up."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.html import format_html

from artifacts import resumable
from artifacts.admin.cells import LocationFilter, exact, second
from artifacts.exceptions import ArtifactError
from artifacts.models import ResumableUpload
from artifacts.signals import person_acted
from common.sizes import format_size

if TYPE_CHECKING:
    UploadModelAdmin = admin.ModelAdmin[ResumableUpload]
else:
    UploadModelAdmin = admin.ModelAdmin


@admin.register(ResumableUpload)
class ResumableUploadAdmin(UploadModelAdmin):
    records_itself = True  # when it is known that an upload is gone: Django records before it deletes
    list_display = ["created", "name", "progress", "location", "organization", "expires"]
    list_filter = [("location", LocationFilter)]
    list_select_related = ["location"]
    search_fields = ["file_name"]
    ordering = ["-created_at"]
    list_per_page = 20  # the storage is asked about each
    show_facets = admin.ShowFacets.NEVER
    fields = [
        *("id", "name", "progress", "exact_progress", "location", "organization", "org_id"),
        *("digest", "result", "exact_created", "exact_expires"),
    ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ResumableUpload | None = None) -> bool:
        return False

    def delete_model(self, request: HttpRequest, obj: ResumableUpload) -> None:
        self._discard(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ResumableUpload]) -> None:
        for upload in queryset.select_related("location"):
            self._discard(request, upload)

    def _discard(self, request: HttpRequest, upload: ResumableUpload) -> None:
        try:
            if not resumable.discard(upload):
                self.message_user(request, f"{upload} is being made an artifact, and stays.", messages.WARNING)
                request.some_stay = True  # type: ignore[attr-defined]
                return
        except ArtifactError as error:
            self.message_user(request, f"{upload} is gone, but not its bytes yet. {error}", messages.WARNING)
        person_acted.send(
            sender=ResumableUpload, request=request, act="deleted", subject=upload, org_id=None, details={}
        )

    def message_user(
        self,
        request: HttpRequest,
        message: Any,
        level: int | str = messages.INFO,
        extra_tags: str = "",
        fail_silently: bool = False,
    ) -> None:
        """Django's, but not to say that all were deleted when some stay."""
        if level != messages.SUCCESS or not getattr(request, "some_stay", False):
            super().message_user(request, message, level, extra_tags, fail_silently)

    @admin.display(description="created (UTC)", ordering="created_at")
    def created(self, upload: ResumableUpload) -> str:
        return second(upload.created_at)

    @admin.display(description="expires (UTC)", ordering="expires_at")
    def expires(self, upload: ResumableUpload) -> str:
        return second(upload.expires_at)

    @admin.display(description="file name", ordering="file_name")
    def name(self, upload: ResumableUpload) -> str:
        return render_to_string("admin/cells/file_name.html", {"name": upload.file_name})

    @admin.display(description="organization", ordering="org_id")
    def organization(self, upload: ResumableUpload) -> str:
        """Its name, if whoever knows names gave the row one (casproject/admin.py)."""
        if name := getattr(upload, "organization_name", ""):
            return render_to_string("admin/cells/file_name.html", {"name": name})
        if not upload.org_id:
            return "-"
        return format_html('<code title="{}">{}…</code>', upload.org_id, upload.org_id[:8])

    @admin.display(description="created")
    def exact_created(self, upload: ResumableUpload) -> str:
        return exact(upload.created_at)

    @admin.display(description="expires")
    def exact_expires(self, upload: ResumableUpload) -> str:
        return exact(upload.expires_at)

    @admin.display(description="progress")
    def progress(self, upload: ResumableUpload) -> str:
        if upload.result:
            return f"done, {format_size(upload.length)}"
        offset = _offset_of(upload)
        if offset is None:
            return f"? of {format_size(upload.length)}"
        share = 100 * offset // upload.length if upload.length else 100
        return f"{format_size(offset)} of {format_size(upload.length)} ({share} %)"

    @admin.display(description="bytes")
    def exact_progress(self, upload: ResumableUpload) -> str:
        offset = _offset_of(upload)
        return f"{'?' if offset is None else offset} of {upload.length}"


def _offset_of(upload: ResumableUpload) -> int | None:
    try:
        return resumable.offset_of(upload)
    except ArtifactError:
        return None
