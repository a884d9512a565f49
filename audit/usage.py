"""The consumer arithmetic: what an organization uploaded, downloaded, and saved by deduplication. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from audit.events import Action, Kind, kind_of


@dataclass(slots=True)
class Usage:
    """Bytes and transfers of one organization."""

    uploaded_bytes: int = 0
    downloaded_bytes: int = 0
    saved_bytes: int = 0
    uploads: int = 0
    downloads: int = 0
    skipped_uploads: int = 0

    @property
    def moved_bytes(self) -> int:
        """Bytes that came or went; what deduplication saved did neither."""
        return self.uploaded_bytes + self.downloaded_bytes

    @property
    def transfers(self) -> int:
        """Skipped uploads included."""
        return self.uploads + self.downloads + self.skipped_uploads

    @property
    def dedup_ratio(self) -> float | None:
        """Of all bytes that came to be uploaded, those that were saved, 0 to 1; None when none came."""
        sent = self.uploaded_bytes + self.saved_bytes
        return self.saved_bytes / sent if sent else None

    def add(self, data: Mapping[str, Any]) -> None:
        """Count one event, given as the `Data` of its payload; other kinds of event count nothing."""
        if data["ActionType"] not in set(Action):
            return  # its Info has a form of its own
        info = data["Info"]
        self.count(kind_of(data["ActionType"], is_skipped=info.get("skipped")), int(info.get("size_bytes", 0)))

    def count(self, kind: Kind | Literal[""], size: int, transfers: int = 1) -> None:
        """Count so many transfers of a kind, which moved or saved so many bytes in all; of no kind, nothing."""
        if kind == Kind.DOWNLOADED:
            self.downloads += transfers
            self.downloaded_bytes += size
        elif kind == Kind.DEDUPLICATED:
            self.skipped_uploads += transfers
            self.saved_bytes += size
        elif kind == Kind.UPLOADED:
            self.uploads += transfers
            self.uploaded_bytes += size


def total_of(usages: Iterable[Usage]) -> Usage:
    """All of these together."""
    total = Usage()
    for usage in usages:
        for name in Usage.__slots__:
            setattr(total, name, getattr(total, name) + getattr(usage, name))
    return total


def usage_by_organization(payloads: Iterable[Mapping[str, Any]]) -> dict[str, Usage]:
    """Fold whole payloads into the usage of each organization id."""
    totals: dict[str, Usage] = defaultdict(Usage)
    for payload in payloads:
        data = payload["Data"]
        if data["OrgID"]:
            totals[data["OrgID"]].add(data)
    return dict(totals)
