"""An organization's events on its page: the newest few, and what they were about. Both read one index, so far."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from audit.events import Kind, kind_of
from audit.models import AuditEvent
from audit.periods import Period
from audit.usage import Usage

LOOKED_AT = 5_000  # events that artifacts are counted in
SHOWN = 10


@dataclass(slots=True)
class ArtifactUse:
    """What the events that were looked at say of one artifact."""

    digest: str
    upload_name: str = ""  # the newest
    download_name: str = ""  # the same; whoever downloads chooses it
    usage: Usage = field(default_factory=Usage)

    @property
    def file_name(self) -> str:
        return self.upload_name or self.download_name

    def add(self, kind: Kind, file_name: str, size: int) -> None:
        """Count an event that is older than those before."""
        self.usage.count(kind, size)
        if kind == Kind.DOWNLOADED:
            self.download_name = self.download_name or file_name
        else:
            self.upload_name = self.upload_name or file_name


class TopArtifacts(NamedTuple):
    """The first of those that were transferred, and of how many events that is known."""

    by_downloads: list[ArtifactUse]
    by_bytes: list[ArtifactUse]
    events: int
    is_all: bool  # False: there are older events in the period


def top_artifacts(organization: UUID, period: Period) -> TopArtifacts:
    """Of the newest LOOKED_AT events of the period."""
    events = AuditEvent.objects.filter(
        org_id=organization, occurred_at__gte=period.start, occurred_at__lt=period.end
    ).order_by("-occurred_at", "-id")
    rows = list(events.values_list("action", "digest", "file_name", "size_bytes", "skipped")[: LOOKED_AT + 1])
    uses: dict[str, ArtifactUse] = {}
    for action, digest, file_name, size, skipped in rows[:LOOKED_AT]:
        if kind := kind_of(action, is_skipped=skipped):
            uses.setdefault(digest, ArtifactUse(digest)).add(kind, file_name, size)
    return TopArtifacts(
        _first(uses, lambda use: use.usage.downloads),
        _first(uses, lambda use: use.usage.moved_bytes),
        min(len(rows), LOOKED_AT),
        len(rows) <= LOOKED_AT,
    )


def recent_events(organization: UUID) -> list[AuditEvent]:
    """The newest, whatever the period."""
    events = AuditEvent.objects.filter(org_id=organization).defer("link").order_by("-occurred_at", "-id")
    return list(events[:SHOWN])


def _first(uses: dict[str, ArtifactUse], measure: Callable[[ArtifactUse], int]) -> list[ArtifactUse]:
    some = [use for use in uses.values() if measure(use) > 0]
    return sorted(some, key=lambda use: (-measure(use), use.digest))[:SHOWN]
