"""What a scrub finds of an artifact, and how that is written down: never over what an upload has done since."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from django.db.models import QuerySet
from django.utils import timezone

from artifacts import labels, quota
from artifacts.digests import Digest
from artifacts.models import Artifact, BlockHashes, Location, Scrub
from artifacts.storage import StoredObject


class State(StrEnum):
    SOUND = "sound"
    UNLABELLED = "unlabelled"  # sound, and has a label now
    CORRUPT = "corrupt"
    MISSING = "missing"
    UNREADABLE = "unreadable"  # the storage failed: nothing is known of it
    CHANGED = "changed"  # replaced or removed since it was read: not marked


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one digest; `label` and `found` are what was known before its bytes were read."""

    digest: Digest
    state: State
    label: Artifact | None = None
    found: StoredObject | None = None
    hashes: Sequence[bytes] = field(default=(), repr=False)
    detail: str = ""

    @property
    def size_bytes(self) -> int:
        return self.found.size_bytes if self.found else 0


def find_label(location: Location, digest: Digest) -> Artifact | None:
    """The artifact's row, as it is before its bytes are read."""
    return Artifact.objects.filter(location=location, digest=digest.hex).first()


def record(location: Location, finding: Finding) -> Finding:
    """Write it to the artifact's row, inside the caller's transaction; what it turned out to be comes back."""
    label, now = finding.label, timezone.now()
    if finding.state == State.UNREADABLE:
        return finding
    if label is None:  # and if it was not found either, it was removed a moment ago
        found = finding.found
        return _label(location, finding, found) if found else replace(finding, state=State.CHANGED)
    if finding.state == State.CORRUPT:
        corrupt_at = label.corrupt_at or now
        return _mark(location, finding, label, label.size_bytes, corrupt_at=corrupt_at, missing_at=None)
    if finding.state == State.MISSING:
        missing_at = label.missing_at or now
        return _mark(location, finding, label, label.size_bytes, corrupt_at=None, missing_at=missing_at)
    return _mark_sound(location, finding, label)


def count(scrub: Scrub, finding: Finding) -> dict[str, object]:
    """The pass's fields once this is done."""
    is_read = finding.state in {State.SOUND, State.UNLABELLED, State.CORRUPT}
    values: dict[str, object] = {"after": finding.digest.hex}
    if is_read:
        values |= {"checked": scrub.checked + 1, "checked_bytes": scrub.checked_bytes + finding.size_bytes}
    if finding.state in {State.UNLABELLED, State.CORRUPT, State.MISSING, State.UNREADABLE}:
        values[finding.state.value] = getattr(scrub, finding.state.value) + 1
    return values


def _label(location: Location, finding: Finding, found: StoredObject) -> Finding:
    now, is_sound = timezone.now(), finding.state == State.SOUND
    label, is_new = Artifact.objects.get_or_create(
        location=location,
        digest=finding.digest.hex,
        defaults={
            "size_bytes": finding.size_bytes,
            "file_name": found.file_name,
            "created_at": found.modified_at,
            "verified_at": now if is_sound else None,
            "corrupt_at": None if is_sound else now,
        },
    )
    if not is_new:
        return replace(finding, state=State.CHANGED)
    quota.adjust(location, finding.size_bytes)
    labels.put_hashes(label.pk, finding.hashes)
    return replace(finding, state=State.UNLABELLED) if is_sound else finding


def _mark_sound(location: Location, finding: Finding, label: Artifact) -> Finding:
    now, size = timezone.now(), finding.size_bytes
    marked = _mark(location, finding, label, size, verified_at=now, corrupt_at=None, missing_at=None)
    is_new = finding.hashes and _stored_hashes(label) != b"".join(finding.hashes)
    if marked.state == State.SOUND and is_new:
        labels.put_hashes(label.pk, finding.hashes)
    return marked


def _mark(location: Location, finding: Finding, label: Artifact, size: int, **times: datetime | None) -> Finding:
    if not _unchanged(label).update(size_bytes=size, **times):
        return replace(finding, state=State.CHANGED)
    before = 0 if label.missing_at else label.size_bytes
    quota.adjust(location, (0 if times["missing_at"] else size) - before)
    return finding


def _unchanged(label: Artifact) -> QuerySet[Artifact]:
    """The row, unless an upload has replaced what is stored since it was read, or another scrub found it missing."""
    read = {"created_at": label.created_at, "missing_at": label.missing_at, "size_bytes": label.size_bytes}
    return Artifact.objects.filter(pk=label.pk, **read)


def _stored_hashes(label: Artifact) -> bytes:
    rows = BlockHashes.objects.filter(artifact=label).order_by("number").values_list("hashes", flat=True)
    return b"".join(bytes(row) for row in rows)
