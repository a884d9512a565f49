"""What pages of one app have of the other's.

The pages of artifacts, which belong to nobody, say what the trail knows: whose they are, and who had them when. The
files of the trail's pages are sent as downloads are: in one of the places that transfers have.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import wraps
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponseBase

from artifacts.admin import by_hand
from artifacts.admin.artifacts import ArtifactAdmin
from artifacts.admin.locations import LocationAdmin
from artifacts.admin.scrubs import ScrubAdmin
from artifacts.admin.uploads import ResumableUploadAdmin
from artifacts.admission import TRANSFERS
from artifacts.exceptions import Busy
from artifacts.models import Artifact, Location, ResumableUpload, Scrub
from audit import access, organizations
from audit.admin.events import AuditEventAdmin
from audit.admin.organizations import OrganizationAdmin
from audit.models import AuditEvent, Organization
from casproject import artifact_history
from casproject.forms import busy
from common.organization_ids import parse_organization


class Limited:
    """Shows a user who is limited to organizations nothing but what is theirs."""

    def get_queryset(self, request: HttpRequest) -> Any:
        rows = super().get_queryset(request)  # type: ignore[misc]
        organizations = access.organizations_of(request.user)
        return rows if organizations is None else rows.filter(self.of_organizations(organizations))

    def of_organizations(self, organizations: frozenset[UUID]) -> Q:
        """Which rows are theirs."""
        raise NotImplementedError


def _locations_of(organizations: frozenset[UUID]) -> QuerySet[Location]:
    """Those that are theirs, and those that all share."""
    return Location.objects.filter(Q(organization__in=organizations) | Q(organization=None))


class ArtifactPages(Limited, ArtifactAdmin):
    """An artifact is theirs when an event of theirs tells of it, there."""

    change_form_template = "admin/artifacts/artifact/with_events.html"

    def of_organizations(self, organizations: frozenset[UUID]) -> Q:
        events = AuditEvent.objects.filter(
            digest=OuterRef("digest"),
            org_id__in=organizations,
            backend=OuterRef("location__backend"),
            location=OuterRef("location__name"),
        )
        return Q(Exists(events))

    def has_download_permission(self, request: HttpRequest, artifact: Artifact | None = None) -> bool:
        """Its bytes are theirs when they had them: an upload of what is there makes an event by its digest alone."""
        is_allowed = super().has_download_permission(request, artifact)
        organizations = access.organizations_of(request.user)
        if artifact is None or organizations is None or not is_allowed:
            return is_allowed
        location = artifact.location
        if location.proof_of_possession or location.organization in organizations:
            return True
        events = AuditEvent.objects.filter(digest=artifact.digest, org_id__in=organizations, skipped=False)
        return events.filter(backend=location.backend, location=location.name).exists()

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        """With its events, for those who may see any."""
        more: dict[str, Any] = dict(extra_context or {})
        artifact = self.get_object(request, unquote(object_id))
        more["may_download"] = self.has_download_permission(request, artifact)
        if artifact is not None and request.user.has_perm("audit.view_auditevent"):
            more["history"] = artifact_history.of(artifact.digest, request.user)
        return super().change_view(request, object_id, form_url, more)


class LocationPages(Limited, LocationAdmin):
    def of_organizations(self, organizations: frozenset[UUID]) -> Q:
        return Q(organization__in=organizations) | Q(organization=None)


class ScrubPages(Limited, ScrubAdmin):
    def of_organizations(self, organizations: frozenset[UUID]) -> Q:
        return Q(location__in=_locations_of(organizations))


class UploadPages(Limited, ResumableUploadAdmin):
    """An upload in pieces has its organization as the token wrote it."""

    def of_organizations(self, organizations: frozenset[UUID]) -> Q:
        return Q(org_id__in=[str(organization) for organization in organizations])

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        _name_organizations(changelist.result_list)
        return changelist

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> ResumableUpload | None:
        upload = super().get_object(request, object_id, from_field)
        if upload is not None:
            _name_organizations([upload])
        return upload


def _name_organizations(uploads: Iterable[ResumableUpload]) -> None:
    """Give each upload the name of its organization, by one query."""
    owners = [(upload, parse_organization(upload.org_id)) for upload in uploads]
    names = organizations.names_of(owner for _, owner in owners)
    for upload, owner in owners:
        if owner in names:
            upload.organization_name = names[owner]  # type: ignore[attr-defined]


Send = Callable[..., HttpResponseBase]


def in_a_slot(send: Send) -> Send:
    """A method that sends a file: whoever reads it slowly holds one of the places that people have."""

    @wraps(send)
    def answer(*args: Any, **kwargs: Any) -> HttpResponseBase:
        with ExitStack() as held:
            try:
                held.callback(TRANSFERS.take(by_hand.PEOPLE).release)
            except Busy as error:
                return busy(error)
            response = send(*args, **kwargs)
            if response.streaming:
                by_hand.keep_while_sent(held, response)
            return response

    return answer


class EventPages(AuditEventAdmin):
    export = in_a_slot(AuditEventAdmin.export)


class OrganizationPages(OrganizationAdmin):
    usage = in_a_slot(OrganizationAdmin.usage)
    usage_of_all = in_a_slot(OrganizationAdmin.usage_of_all)


_PAGES: dict[Any, Any] = {
    Artifact: ArtifactPages,
    AuditEvent: EventPages,
    Location: LocationPages,
    Organization: OrganizationPages,
    ResumableUpload: UploadPages,
    Scrub: ScrubPages,
}
for model, pages in _PAGES.items():
    admin.site.unregister(model)
    admin.site.register(model, pages)
