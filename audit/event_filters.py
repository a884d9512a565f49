"""What may be asked of the trail, by the API, the admin and `export_events` alike: texts to values to conditions.

A parser takes what somebody wrote, and raises ValueError with a message for them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

from django.db.models import BooleanField, Q
from django.db.models.expressions import RawSQL

from audit.events import Action
from audit.models import State
from common.digest_ranges import begins_with
from common.sizes import parse_size

LARGEST = 2**63 - 1  # what a BIGINT holds
OTHER = "other"

_TIME = re.compile(
    r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d(:\d\d([.]\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)?)?",  # RFC 3339, a date, no offset: UTC
    re.ASCII,
)
_LOST_PLUS = re.compile(r":[\d.]+ \d\d:\d\d$", re.ASCII)  # a URL's "+" is a space
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{4,64})")
_WHOLE = 64  # hex digits of a SHA-256


def _literally(sql: str) -> Q:
    """A condition as a partial index has it: SQLite sees that they are the same only when no parameter is in it."""
    return Q(cast(Any, RawSQL(sql, (), BooleanField())))  # noqa: S611  (constants of our own)


# Each has a partial index of the same condition (AuditEvent.Meta), in the order of time.
_FAILED = _literally("state = 'failed'")
_OTHER = _literally("NOT (action IN ('CASArtifactUploaded', 'CASArtifactDownloaded'))")
_PENDING = _literally("state = 'pending'")  # whose index is in the order of ids

WORDS = {
    "uploaded": Q(action=Action.UPLOADED, skipped=False),
    "deduplicated": Q(action=Action.UPLOADED, skipped=True),
    "downloaded": Q(action=Action.DOWNLOADED),
    OTHER: _OTHER,
}


def parse_time(text: str) -> datetime:
    """RFC 3339, or a date, which is its first moment; UTC unless it says otherwise."""
    if _TIME.fullmatch(text) is None:
        hint = " In URLs, '+' is written %2B." if _LOST_PLUS.search(text) else ""
        raise ValueError(f"Not a time such as 2026-11-24T08:00:00Z.{hint}")
    try:
        time = datetime.fromisoformat(text.upper())
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError("There is no such time.") from error


def parse_bytes(text: str) -> int:
    """Bytes, as `1500`, `50MB` or `1.5GiB`."""
    try:
        size = parse_size(text)
    except ValueError as error:
        raise ValueError("Not a size such as 1500, 50MB or 1.5GiB.") from error
    if size > LARGEST:
        raise ValueError("Nothing is that large.")
    return size


def parse_digest(text: str) -> str:
    """Bare hex, all of a digest or its first digits."""
    match = _DIGEST.fullmatch(text.lower())
    if match is None:
        raise ValueError("Not a digest, or the first 4 or more digits of one.")
    return match[1]


def parse_action(text: str) -> str:
    """One of our words, or an action type as it stands in the event."""
    # A word that is none of ours is a slip: action types of other publishers have capitals, as ours do.
    if text.isalpha() and text.islower() and text not in WORDS:
        raise ValueError(f"Not one of {', '.join(WORDS)}, nor an action type.")
    return text


def range_problems(query: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with ranges, by the parameter's name."""
    problems = {}
    if "from" in query and "to" in query and query["from"] >= query["to"]:
        problems["to"] = "It must be later than from."
    if query.get("min_size", 0) > query.get("max_size", LARGEST):
        problems["max_size"] = "It must be at least min_size."
    return problems


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Conditions, by how they are found. All of them must hold."""

    times: Q = field(default_factory=Q)  # all indexes in the order of pages have them
    organization: UUID | None = None  # has an index in that order
    indexed: Q = field(default_factory=Q)  # the same, with an index of its own
    unordered: Q = field(default_factory=Q)  # has an index in another order
    rest: Q = field(default_factory=Q)  # found by looking at events one by one
    organizations: frozenset[UUID] | None = None  # the only ones whose events may be seen; None: all

    @classmethod
    def of(cls, query: Mapping[str, Any]) -> "EventFilter":
        """The conditions of these values, by the parameters' names; those of other parameters are ignored."""
        in_order, unordered, rest = _by_index(query)
        for condition in in_order[1:]:
            rest &= condition  # one index at a time
        return cls(
            times=_all(query, {"from": "occurred_at__gte", "to": "occurred_at__lt"}),
            organization=query.get("org"),
            indexed=in_order[0] if in_order else Q(),
            unordered=unordered,
            rest=rest
            & _all(
                query,
                {
                    "file_name": "file_name__icontains",
                    "backend": "backend",
                    "location": "location",
                    "skipped": "skipped",
                    "min_size": "size_bytes__gte",
                    "max_size": "size_bytes__lte",
                },
            ),
        )

    def condition(self) -> Q:
        """All of it as one condition, for whoever has narrowed down the events otherwise."""
        whole = self.times & self.indexed & self.unordered & self.rest
        if self.organization is not None:
            whole &= Q(org_id=self.organization)
        return whole if self.organizations is None else whole & Q(org_id__in=self.organizations)

    def within(self, organizations: frozenset[UUID] | None) -> "EventFilter":
        """The same, of events of these organizations alone (None: of all)."""
        return replace(self, organizations=organizations)


def _by_index(query: Mapping[str, Any]) -> tuple[list[Q], Q, Q]:
    """Conditions with an index in order of time, with one in another order, and with none: the best come first."""
    in_order, unordered, rest = [], Q(), Q()
    if "digest" in query:
        digest = query["digest"]
        if len(digest) == _WHOLE:
            in_order.append(Q(digest=digest))
        else:
            unordered = begins_with(digest)
    match query.get("state"):
        case None:
            pass
        case State.FAILED:
            in_order.append(_FAILED)
        case State.PENDING if not unordered:
            unordered = _PENDING
        case state:
            rest &= Q(state=state)
    if "action" in query:
        action = query["action"]
        if action == OTHER:
            in_order.append(_OTHER)
        elif action in WORDS or action in set(Action):
            rest &= WORDS.get(action, Q(action=action))
        else:
            in_order.append(_OTHER)
            rest &= Q(action=action)
    return in_order, unordered, rest


def _all(query: Mapping[str, Any], lookups: Mapping[str, str]) -> Q:
    return Q(**{lookup: query[name] for name, lookup in lookups.items() if name in query})
