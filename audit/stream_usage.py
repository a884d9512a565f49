"""Usage computed from the stream alone: each message applied once, whatever is delivered twice, in a file of its own.

The example for whoever writes a consumer (docs/consumer.md): a message's id and what it counts for go into the file
in one transaction, and only then is it acked.
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Self
from uuid import UUID

from audit.chain import microseconds_of
from audit.consumer import Received, Standing
from audit.entries import Entry, read_entry
from audit.events import Action, kind_of
from audit.usage import Usage

_TABLES = """
    CREATE TABLE IF NOT EXISTS event (
        key BLOB PRIMARY KEY, sequence INTEGER NOT NULL, time INTEGER, organization TEXT, action TEXT,
        skipped INTEGER, bytes INTEGER, ignored TEXT
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS event_time ON event (time) WHERE ignored IS NULL;
    CREATE TABLE IF NOT EXISTS doubled (sequence INTEGER, key BLOB, PRIMARY KEY (sequence, key)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS consumer (created TEXT PRIMARY KEY, acked INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS delivered (
        created TEXT, sequence INTEGER, consumer_sequence INTEGER NOT NULL, times INTEGER NOT NULL,
        PRIMARY KEY (created, sequence)
    ) WITHOUT ROWID;
"""
# Up to `consumer.acked` all that was acked is known to be in here; `delivered` has what came since, by stream sequence.


class StateError(Exception):
    """The file cannot be used, or lacks what was counted elsewhere."""


@dataclass(slots=True)
class Report:
    """Usage by organization; what was not counted, by reason."""

    organizations: dict[str, Usage] = field(default_factory=dict)
    applied: int = 0
    ignored: dict[str, int] = field(default_factory=dict)
    doubled: int = 0


class UsageState:
    """The file. Several processes may share it. Raises StateError."""

    def __init__(self, path: Path) -> None:
        with _errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._path = path
            self._file = sqlite3.connect(path, timeout=20, isolation_level=None)
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute("PRAGMA synchronous=FULL")
            self._file.executescript(_TABLES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def clear(self) -> None:
        """Forget everything."""
        with self._transaction():
            for table in ("event", "doubled", "consumer", "delivered"):
                self._file.execute(f"DELETE FROM {table}")  # noqa: S608  (names of our own)

    def check(self, standing: Standing, *, accepts_gap: bool = False) -> None:
        """Raise StateError when the consumer's acks tell of messages that are not in here, unless that is accepted.

        Each delivery has a number of its own, and a message tells how often it was delivered: so those of the messages
        in here must be as many as the deliveries up to which all is acked.
        """
        with self._transaction():
            settled = self._settled(standing.created)
            if standing.acked <= settled:
                return
            (deliveries,) = self._file.execute(
                "SELECT coalesce(sum(times), 0) FROM delivered WHERE created = ?", [standing.created]
            ).fetchone()
            missing = standing.acked - settled - deliveries
            if missing > 0 and not accepts_gap:
                raise StateError(
                    f"{missing} of the {standing.acked} deliveries that the consumer's reader acked are not in "
                    f"{self._path}: someone else read it, or the file is an old one, or the stream removed what was "
                    "being read. Choose another --consumer; or --rebuild, to count anew what the stream still has; or "
                    "--accept-gap, to go on without what is missing."
                )
            if missing > 0 or not standing.unacked:  # else some of them may be of after what is acked
                self._settle(standing.created, standing.acked)

    def apply(self, messages: Collection[Received], created: str) -> None:
        """Count those that are new; all may be acked after that. `created` tells consumers of one name apart."""
        with self._transaction():
            settled = self._settled(created)
            for message in messages:
                self._apply(message)
                if message.consumer_sequence > settled:
                    self._file.execute(
                        "INSERT INTO delivered VALUES (?, ?, ?, ?) ON CONFLICT (created, sequence) DO UPDATE SET"
                        " consumer_sequence = max(consumer_sequence, excluded.consumer_sequence),"
                        " times = max(times, excluded.times)",
                        [created, message.sequence, message.consumer_sequence, message.deliveries],
                    )

    def report(
        self, start: datetime | None = None, end: datetime | None = None, organizations: Iterable[UUID] = ()
    ) -> Report:
        """Usage of the events from `start` until before `end`, of all organizations or these."""
        with _errors(self._path), closing(self._file.cursor()) as cursor:
            report = Report()
            (report.doubled,) = cursor.execute("SELECT count(*) FROM doubled").fetchone()
            report.ignored = dict(
                cursor.execute("SELECT ignored, count(*) FROM event WHERE ignored IS NOT NULL GROUP BY ignored")
            )
            (total,) = cursor.execute("SELECT count(*) FROM event").fetchone()
            report.applied = total - sum(report.ignored.values())
            wanted = {str(organization) for organization in organizations}
            report.organizations = {organization: Usage() for organization in sorted(wanted)}
            rows = cursor.execute(
                # In halves: SQLite's sum fails beyond 63 bits.
                "SELECT organization, action, skipped, sum(bytes >> 32), sum(bytes & 4294967295), count(*) FROM event"
                " WHERE ignored IS NULL AND time >= ? AND time < ? GROUP BY 1, 2, 3 ORDER BY 1",
                [microseconds_of(start) if start else -(2**63), microseconds_of(end) if end else 2**63 - 1],
            )
            for organization, action, skipped, high, low, count in rows:
                if not wanted or organization in wanted:
                    usage = report.organizations.setdefault(organization, Usage())
                    usage.count(kind_of(action, is_skipped=skipped), (high << 32) + low, count)
        return report

    def _apply(self, message: Received) -> None:
        key = blake2b(message.key.encode(), digest_size=16).digest()
        known = self._file.execute("SELECT sequence FROM event WHERE key = ?", [key]).fetchone()
        if known is not None:
            if known[0] != message.sequence:
                self._file.execute("INSERT OR IGNORE INTO doubled VALUES (?, ?)", [message.sequence, key])
            return
        entry = read_entry(message.payload)
        reason = _reason_to_ignore(entry)
        values: list[int | str | None] = [None] * 5
        if entry is not None and reason is None:
            assert entry.time is not None  # noqa: S101  (else there were a reason)
            values = [microseconds_of(entry.time), str(entry.org_id), entry.action, entry.skipped, entry.size_bytes]
        self._file.execute(
            "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [key, message.sequence, *values, reason]
        )

    def _settled(self, created: str) -> int:
        row = self._file.execute("SELECT acked FROM consumer WHERE created = ?", [created]).fetchone()
        return int(row[0]) if row else 0

    def _settle(self, created: str, acked: int) -> None:
        self._file.execute(
            "INSERT INTO consumer VALUES (?, ?) ON CONFLICT (created) DO UPDATE SET acked = max(acked, excluded.acked)",
            [created, acked],
        )
        self._file.execute("DELETE FROM delivered WHERE created = ? AND consumer_sequence <= ?", [created, acked])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _errors(self._path):
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._file.execute("COMMIT")
            except BaseException:
                self._file.execute("ROLLBACK")
                raise


def _reason_to_ignore(entry: Entry | None) -> str | None:
    if entry is None:
        return "no audit event"
    if entry.action not in set(Action):
        return "another kind of event"
    return None if entry.can_count else "malformed"


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StateError(f"{path} cannot be used: {error}") from error
