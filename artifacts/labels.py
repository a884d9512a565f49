"""What the database knows of artifacts: names and sizes, block hashes, what was found corrupt.

The storage decides whether an artifact exists. A label that is lost costs its name, never its bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.utils import timezone

from artifacts import quota
from artifacts.block_hashes import HASH_SIZE, blocks_of
from artifacts.digests import Digest
from artifacts.models import Artifact, BlockHashes, Location
from artifacts.storage import StoredObject
from common import group_commit
from common.first_query import first_query
from common.group_commit import Ticket
from common.prepared import Insert, Query
from common.transactions import write_transaction

_PER_ROW = BlockHashes.BLOCKS_PER_ROW


class Label(NamedTuple):
    """What a transfer needs to know of an artifact's row."""

    pk: int
    size_bytes: int
    file_name: str
    is_corrupt: bool
    is_missing: bool
    version: datetime  # in UTC, which SQLite does not say; changes when an upload replaces what is stored

    def is_of(self, found: StoredObject) -> bool:
        """Whether it was made after what is stored, and so by an upload that had made that durable."""
        return not self.is_missing and self.version.replace(tzinfo=UTC) >= found.modified_at


# Not by the ORM, which takes ten times as long to build this query as the database to answer it.
_FIND = Query(f"""
    SELECT id, size_bytes, file_name, corrupt_at IS NOT NULL, missing_at IS NOT NULL, created_at
    FROM {Artifact._meta.db_table} WHERE digest = %s AND location_id = %s
""")  # noqa: S608  (only the table's own name is put in)
_MARK_CORRUPT = f"""
    UPDATE {Artifact._meta.db_table} SET corrupt_at = %s WHERE id = %s AND created_at = %s
"""  # noqa: S608  (as above)


def find(location: Location, digest: Digest) -> Label | None:
    """The label of an artifact in a location."""
    row = first_query(lambda: _FIND.first(digest.hex, location.pk))
    return None if row is None else Label(row[0], row[1], row[2], bool(row[3]), bool(row[4]), row[5])


def created_at(label: Label) -> datetime:
    """When it was first stored, or last replaced."""
    return Artifact.objects.values_list("created_at", flat=True).get(pk=label.pk)


@dataclass(frozen=True, slots=True)
class _New:
    values: tuple[Any, ...]  # in the order of _COLUMNS
    hashes: Sequence[bytes]


# Again not by the ORM, which would build the statement anew while it holds SQLite's write lock.
_COLUMNS = ["digest", "location_id", "size_bytes", "file_name", "created_at", "verified_at"]
_REPLACE = """(digest, location_id) DO UPDATE SET
    size_bytes = excluded.size_bytes, file_name = excluded.file_name, created_at = excluded.created_at,
    verified_at = excluded.verified_at, corrupt_at = NULL, missing_at = NULL"""
_UPSERT = Insert(Artifact._meta.db_table, _COLUMNS, _REPLACE, key=2)
_OLDER = " AND ".join(
    f"({Artifact._meta.db_table}.{column} IS NULL OR {Artifact._meta.db_table}.{column} < excluded.created_at)"
    for column in ("created_at", "corrupt_at", "missing_at")
)
_UPSERT_OLDER = Insert(Artifact._meta.db_table, _COLUMNS, f"{_REPLACE} WHERE {_OLDER}", key=2)


def put(
    location: Location, digest: Digest, size: int, file_name: str, stored_at: datetime, hashes: Sequence[bytes]
) -> Ticket:
    """Label what was stored just now, in place of what was known; goes along with the thread's next group commit."""
    values = _values_of(location.pk, digest.hex, size, file_name, stored_at)
    return group_commit.defer(_upsert_hashed, _New(values, hashes)) if hashes else group_commit.defer(_UPSERT, values)


def put_late(location_id: int, digest: str, size: int, file_name: str, stored_at: datetime) -> None:
    """Label what was stored at some time, unless it was labelled or looked at after that; raises django.db.Error."""
    _UPSERT_OLDER.run([_values_of(location_id, digest, size, file_name, stored_at)])


def _values_of(location_id: int, digest: str, size: int, file_name: str, stored_at: datetime) -> tuple[Any, ...]:
    ops = transaction.get_connection().ops
    time = ops.adapt_datetimefield_value(stored_at)
    # psycopg types a plain number by its value, and a statement would be prepared for each mixture.
    numbers = (ops.adapt_integerfield_value(number, "BigIntegerField") for number in (location_id, size))
    return (digest, *numbers, file_name, time, time)


def put_missing(location: Location, digest: Digest, found: StoredObject, file_name: str) -> Ticket:
    """Label what was found stored without a label; `file_name`, when it is not "", goes before the storage's."""
    return group_commit.defer(_insert_missing, _label_of(location, digest, found, file_name))


def _upsert_hashed(labels: Sequence[_New]) -> None:
    _UPSERT.run([new.values for new in labels])
    for new in labels:
        if row := _FIND.first(*new.values[:2]):
            put_hashes(row[0], new.hashes)


def _label_of(
    location: Location, digest: Digest, found: StoredObject, file_name: str = "", **times: datetime
) -> Artifact:
    name = file_name or found.file_name
    return Artifact(location=location, digest=digest.hex, size_bytes=found.size_bytes, file_name=name, **times)


def _insert_missing(labels: Sequence[Artifact]) -> None:
    Artifact.objects.bulk_create(labels, ignore_conflicts=True)


def put_hashes(pk: int, hashes: Sequence[bytes]) -> None:
    """Record the block hashes of an artifact whose bytes have matched its digest just now."""
    rows = [
        BlockHashes(artifact_id=pk, number=number, hashes=b"".join(hashes[start : start + _PER_ROW]))
        for number, start in enumerate(range(0, len(hashes), _PER_ROW))
    ]
    BlockHashes.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["artifact", "number"], update_fields=["hashes"]
    )


def find_hashes(label: Label, span: range) -> list[bytes] | None:
    """The hashes of the blocks that a span of bytes touches; None when not all of them are known."""
    blocks = blocks_of(span)
    if not blocks:
        return []
    first, last = blocks.start // _PER_ROW, blocks[-1] // _PER_ROW
    rows = BlockHashes.objects.filter(artifact_id=label.pk, number__range=(first, last)).order_by("number")
    stored = b"".join(bytes(row.hashes) for row in rows)
    skipped = blocks.start - first * _PER_ROW
    hashes = [stored[at : at + HASH_SIZE] for at in range(0, len(stored), HASH_SIZE)][skipped : skipped + len(blocks)]
    return hashes if len(hashes) == len(blocks) else None


def mark_corrupt(location: Location, digest: Digest, found: StoredObject, label: Label | None) -> None:
    """Note that its bytes do not match; raises django.db.Error. Not of what an upload has replaced since."""
    now = timezone.now()
    if label is None:
        _insert_missing([_label_of(location, digest, found, corrupt_at=now)])
    else:
        with connection.cursor() as cursor:
            cursor.execute(_MARK_CORRUPT, [connection.ops.adapt_datetimefield_value(now), label.pk, label.version])


def mark_found(location: Location, label: Label) -> None:
    """Note that what was missing is there again, and counts for the quota; raises django.db.Error."""
    with write_transaction():
        if Artifact.objects.filter(pk=label.pk, missing_at__isnull=False).update(missing_at=None):
            quota.adjust(location, label.size_bytes)


def mark_sound(
    location: Location, digest: Digest, found: StoredObject, label: Label | None, hashes: Sequence[bytes]
) -> None:
    """Note that all of it was read and matched its digest; raises django.db.Error."""
    now = timezone.now()
    if label is None:
        _insert_missing([_label_of(location, digest, found, verified_at=now)])
        label = find(location, digest)
    else:
        Artifact.objects.filter(pk=label.pk).update(verified_at=now)
    if label is not None:
        put_hashes(label.pk, hashes)
