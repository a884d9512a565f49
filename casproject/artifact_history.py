"""Who stored an artifact and who had it since, as far as a user may see it and a page has room for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from audit import access, acts, organizations
from audit.act_events import WORDS
from audit.event_words import words_of
from audit.events import Action
from audit.models import AuditEvent

SHOWN = 50
LOOKED_AT = 1_000  # events of the digest, however few of them the user may see


@dataclass(frozen=True, slots=True)
class Entry:
    """One event; `who` is the organization's name, or the beginning of its id, or the person who did something here."""

    event: AuditEvent
    who: str
    what: str


@dataclass(frozen=True, slots=True)
class History:
    """The newest events, newest first, and the upload that stored it."""

    entries: Sequence[Entry]
    stored: Entry | None


def of(digest: str, user: Any) -> History:
    """The history of this digest: three short queries, of at most LOOKED_AT events each."""
    every = AuditEvent.objects.filter(digest=digest)
    newest = list(_seen(every.order_by("-occurred_at", "-id"), user)[:SHOWN])
    stored = _seen(every.order_by("occurred_at", "id"), user).filter(action=Action.UPLOADED, skipped=False).first()
    names = organizations.names_of(event.org_id for event in [*newest, *([stored] if stored else [])])
    return History([_entry(event, names) for event in newest], _entry(stored, names) if stored else None)


def _seen(events: QuerySet[AuditEvent], user: Any) -> QuerySet[AuditEvent]:
    """Of the first events in their order, those that the user may see."""
    some = events.values("pk")[:LOOKED_AT]
    seen = access.within(user, AuditEvent.objects.filter(pk__in=some))
    return seen.order_by(*events.query.order_by).defer("link")


def _entry(event: AuditEvent, names: dict[UUID, str]) -> Entry:
    act = acts.act_of(event.action)
    if act and (told := acts.describe(event)):
        return Entry(event, told.who, WORDS[act])  # upon which artifact, the page says
    who = "-" if event.org_id is None else names.get(event.org_id, f"{str(event.org_id)[:8]}…")
    return Entry(event, who, words_of(event))
