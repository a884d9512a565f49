"""Locations, which administrators configure and try out."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from artifacts import location_use
from artifacts.admin.cells import badge, exact, second
from artifacts.exceptions import ArtifactError
from artifacts.location_faults import explain
from artifacts.location_form import LocationForm
from artifacts.models import Location, Scrub
from artifacts.signals import person_acted
from artifacts.storage import open_store
from artifacts.storage.probe import probe
from common.sizes import format_size

if TYPE_CHECKING:
    LocationModelAdmin = admin.ModelAdmin[Location]
else:
    LocationModelAdmin = admin.ModelAdmin


_USE = ("use", "holds", "last_scrub", "exact_updated")
_MAKE_A_STORE = {"backend", "options", "new_credentials", "remove_credentials"}


@admin.register(Location)
class LocationAdmin(LocationModelAdmin):
    list_display = ["name", "backend", "organization", "use", "has_credentials", "updated"]
    list_filter = ["backend"]
    search_fields = ["name"]
    ordering = ["backend", "name"]
    show_facets = admin.ShowFacets.NEVER
    actions = ["test_locations"]

    def get_fieldsets(self, request: HttpRequest, obj: Location | None = None) -> Any:
        if not self._may_edit(request, obj):
            credentials = ["has_credentials"]
        elif obj is not None and obj.encrypted_credentials:
            credentials = ["new_credentials", "remove_credentials"]
        else:
            credentials = ["new_credentials"]
        use = [("In use", {"fields": list(_USE)})] if obj else []
        return [
            *use,
            ("Where artifacts are kept", {"fields": ["name", "backend", "options", *credentials]}),
            ("Limits", {"fields": ["organization", "quota_bytes", "proof_of_possession"]}),
        ]

    def get_form(self, request: HttpRequest, obj: Location | None = None, change: bool = False, **kwargs: Any) -> Any:
        # A reader gets no fields to enter anything in.
        form = LocationForm if self._may_edit(request, obj) else forms.ModelForm
        return super().get_form(request, obj, change, **{"form": form, **kwargs})

    def get_readonly_fields(self, request: HttpRequest, obj: Location | None = None) -> list[str]:
        return [*_USE, *([] if self._may_edit(request, obj) else ["has_credentials"])]

    def _may_edit(self, request: HttpRequest, location: Location | None) -> bool:
        return self.has_add_permission(request) if location is None else self.has_change_permission(request, location)

    def save_model(self, request: HttpRequest, obj: Location, form: Any, change: bool) -> None:
        """Say that new settings are not tried: that would take a network's time within a transaction."""
        super().save_model(request, obj, form, change)
        if _MAKE_A_STORE.intersection(form.changed_data):
            text = f"{obj} was not tried with these settings yet: “Test this location” on its page does that."
            self.message_user(request, text, messages.WARNING)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Say that artifacts are in the way, without loading them all as the admin otherwise would."""
        if protected := [f"The artifacts of {location}" for location in objs if location.artifacts.exists()]:
            return [], {}, set(), protected
        deleted, counts, forbidden, protected = super().get_deleted_objects(objs, request)
        # Nobody deletes a scrub alone; with its location it goes.
        return deleted, counts, forbidden - {Scrub._meta.verbose_name}, protected

    @admin.display(description="updated (UTC)", ordering="updated_at")
    def updated(self, location: Location) -> str:
        return second(location.updated_at)

    @admin.display(description="quota in use")
    def use(self, location: Location) -> str:
        if location.quota_bytes is None:
            return "no quota"
        used, quota = location.used_bytes, location.quota_bytes
        text = f"{format_size(used)} of {format_size(quota)}"
        values = {"used": used, "quota": quota, "high": quota * 9 // 10, "text": text}
        return render_to_string("admin/cells/use.html", values)

    @admin.display(description="artifacts")
    def holds(self, location: Location) -> str:
        """How many and how large, as far as they are soon counted."""
        count, size = location_use.labelled(location)
        if count > location_use.MOST_COUNTED:
            return f"more than {location_use.MOST_COUNTED:,}"
        return f"{count:,} ({format_size(size)} in all)" if count else "none"

    @admin.display(description="last scrub")
    def last_scrub(self, location: Location) -> str:
        """What the last pass over all of it found, and when that ended."""
        scrub = location.scrubs.exclude(finished_at=None).order_by("-id").first()
        if scrub is None or scrub.finished_at is None:
            return "never"
        damage = [
            f"{count:,} {name}" for name, count in (("corrupt", scrub.corrupt), ("missing", scrub.missing)) if count
        ]
        url = reverse("admin:artifacts_scrub_change", args=[scrub.pk])
        text = f"read {scrub.checked:,} artifacts, {format_size(scrub.checked_bytes)}"
        found = (
            badge("corrupt", ", ".join(damage), "at that time")
            if damage
            else badge("sound", "no damage", "at that time")
        )
        return format_html('<a href="{}">{}</a>: {} {}', url, exact(scrub.finished_at), text, found)

    @admin.display(description="last changed")
    def exact_updated(self, location: Location) -> str:
        return exact(location.updated_at)

    @admin.display(description="credentials set", boolean=True)
    def has_credentials(self, location: Location) -> bool:
        return bool(location.encrypted_credentials)

    @admin.action(description="Test selected locations", permissions=["test"])
    def test_locations(self, request: HttpRequest, locations: QuerySet[Location]) -> None:
        for location in locations:
            self._test(request, location)

    def has_test_permission(self, request: HttpRequest) -> bool:
        """Whether the user may try locations out; Django asks it before it offers the action."""
        return request.user.has_perm("artifacts.test_location")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.test_view)
        return [path("<path:object_id>/test/", view, name="artifacts_location_test"), *super().get_urls()]

    def test_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The button of the change page: test the saved location and come back."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        location = self.get_object(request, unquote(object_id))
        if not (self.has_test_permission(request) and self.has_view_permission(request, location)):
            raise PermissionDenied
        if location is not None:
            self._test(request, location)
        # Which says so when there is none.
        return HttpResponseRedirect(reverse("admin:artifacts_location_change", args=[object_id]))

    def _test(self, request: HttpRequest, location: Location) -> None:
        details = {"works": True}
        try:
            probe(open_store(location))
        except (ArtifactError, OSError) as error:
            details = {"works": False}
            self.message_user(request, f"{location} failed its test. {explain(error, location)}", messages.ERROR)
        else:
            self.message_user(
                request, f"{location} works: an artifact was written, read back and deleted.", messages.SUCCESS
            )
        organization = location.organization
        person_acted.send(
            sender=Location, request=request, act="tested", subject=location, org_id=organization, details=details
        )
