"""The filters of the list of events as a form: what stands in the URL, to what is asked of the trail."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.text import smart_split, unescape_string_literal

from audit import event_filters, organizations
from audit.api_pages import FEW
from audit.event_filters import EventFilter
from audit.models import AuditEvent, Organization, State
from audit.periods import PRESETS
from common.digest_ranges import UNMISTAKABLE, begins_with

PERIODS = {preset.key: preset.length for preset in PRESETS}
PERIOD_WORDS = {preset.key: preset.label for preset in PRESETS}
MOST_OFFERED = 100
NOTHING = EventFilter(organizations=frozenset())
_ANY = [("", "any")]


class _Parsed(forms.CharField):
    """A text that one of event_filters' parsers reads."""

    def __init__(self, parse: Callable[[str], Any], **options: Any) -> None:
        super().__init__(required=False, **options)
        self._parse = parse

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return None
        try:
            return self._parse(text)
        except ValueError as error:
            raise ValidationError(str(error)) from error


class EventForm(forms.Form):
    """The parameters of `/api/events/`, and `q` and `period`. `organization` also takes a display name."""

    q = forms.CharField(required=False, max_length=500, label="Search")
    period = forms.ChoiceField(choices=[*_ANY, *PERIOD_WORDS.items()], required=False, label="Last")
    to = _Parsed(event_filters.parse_time, max_length=40, label="Until (UTC)")
    organization = forms.CharField(required=False, max_length=200)
    action = _Parsed(event_filters.parse_action, max_length=100)
    skipped = forms.ChoiceField(choices=[*_ANY, ("true", "yes"), ("false", "no")], required=False)
    state = forms.ChoiceField(choices=[*_ANY, *State.choices], required=False)
    location = forms.CharField(required=False, max_length=200)
    backend = forms.CharField(required=False, max_length=50)
    min_size = _Parsed(event_filters.parse_bytes, max_length=30, label="At least")
    max_size = _Parsed(event_filters.parse_bytes, max_length=30, label="At most")
    file_name = forms.CharField(required=False, max_length=255, strip=False)
    digest = _Parsed(event_filters.parse_digest, max_length=80)

    def __init__(self, data: Any, seen: frozenset[UUID] | None) -> None:
        super().__init__(data, label_suffix="")
        self._seen = seen
        begin = _Parsed(event_filters.parse_time, max_length=40, label="From (UTC)")
        fields = dict(self.fields.items())
        self.fields.clear()
        for name, field in fields.items():
            if name == "to":
                self.fields["from"] = begin  # a word of Python's
            self.fields[name] = field
        for name, hint in _HINTS.items():
            self.fields[name].widget.attrs["placeholder"] = hint
        self.fields["action"].widget.attrs["list"] = "cas-actions"
        self.fields["organization"].widget.attrs["list"] = "cas-organizations"

    def clean(self) -> dict[str, Any]:
        """The values that were given, under the names that EventFilter knows."""
        values = {name: value for name, value in (super().clean() or {}).items() if value not in (None, "")}
        if "period" in values and ("from" in values or "to" in values):
            self.add_error("period", "Either a period, or from and until.")
        for name, problem in event_filters.range_problems(values).items():
            self.add_error(name, problem)
        return values

    def given(self) -> list[tuple[str, str]]:
        """(name, text) of the fields that were filled in."""
        return [(name, str(self.data[name])) for name in self.fields if self.data.get(name)]

    def shown(self, *, without: str = "") -> list[tuple[str, str]]:
        """The same with labels, for people."""
        return [(str(self[name].label), text) for name, text in self.given() if name != without]

    def named(self) -> QuerySet[Organization]:
        """Organizations that may be chosen by name."""
        named = Organization.objects.exclude(display_name="")
        return named if self._seen is None else named.filter(pk__in=self._seen)

    def choices(self) -> QuerySet[Organization]:
        """Some of them, to be offered."""
        return self.named()[:MOST_OFFERED]

    def asked(self) -> EventFilter:
        """What is asked of the trail; of a form that is not valid, nothing is found."""
        if not self.is_valid():
            return NOTHING
        values = dict(self.cleaned_data)
        if "period" in values:
            values["from"] = _to_the_minute(timezone.now() - PERIODS[values["period"]])
        if "skipped" in values:
            values["skipped"] = values["skipped"] == "true"
        further = []
        if text := values.pop("organization", ""):
            further.append(self._of_organization(text))
        if text := str(values.pop("q", "")).strip():
            further.append(self._of_search(text))
        asked = EventFilter.of(values)
        for each in further:
            asked = _both(asked, each)
        return _both(asked, EventFilter(organizations=self._seen))

    def _of_organization(self, text: str) -> EventFilter:
        """By its id, or by its display name or a part of that."""
        found = self._organizations(text)
        return EventFilter(organization=found[0]) if len(found) == 1 else EventFilter(organizations=frozenset(found))

    def _organizations(self, text: str) -> list[UUID]:
        """Exactly so named if one is, else all that may be meant."""
        exactly = list(self.named().filter(display_name__iexact=text).values_list("pk", flat=True)[:2])
        return exactly if len(exactly) == 1 else organizations.ids_named(text, self._seen)

    def _of_search(self, text: str) -> EventFilter:
        """A digest or its beginning, an organization's or event's id; else part of a file or organization name."""
        if (identifier := _uuid(text)) is not None:
            is_event = AuditEvent.objects.filter(event_id=identifier).exists()
            return EventFilter(indexed=Q(event_id=identifier)) if is_event else EventFilter(organization=identifier)
        found = Q(org_id__in=self._organizations(text))
        try:
            digest = event_filters.parse_digest(text)
        except ValueError:
            if text.lower().startswith("sha256:"):
                return NOTHING  # what begins so and is no digest is no name either
        else:
            if text.lower().startswith("sha256:") or self._is_known(digest):
                return EventFilter.of({"digest": digest})
            found |= begins_with(digest)
        words = Q()
        for word in smart_split(text):
            words &= Q(file_name__icontains=unescape_string_literal(word) if _is_quoted(word) else word)
        return EventFilter(rest=words | found)

    def _is_known(self, digest: str) -> bool:
        """Whether to take digits for a digest's of what is seen: they might be part of a file name too."""
        if len(digest) < UNMISTAKABLE:
            return False
        found = AuditEvent.objects.filter(begins_with(digest))
        if self._seen is None:
            return found.exists()
        # Asked for organizations as well, SQLite would read all of theirs. A digest with more events is searched for.
        among = found.order_by("digest", "occurred_at", "id").values_list("org_id", flat=True)[:FEW]
        return not self._seen.isdisjoint(among)


_HINTS = {
    "from": "2026-11-24 08:00",
    "to": "2026-11-25",
    "organization": "name or id",
    "action": "uploaded",
    "location": "secret-id",
    "backend": "FILESYSTEM",
    "min_size": "50MiB",
    "max_size": "1.5GiB",
    "file_name": "part of it",
    "digest": "sha256:…",
}


def _both(one: EventFilter, other: EventFilter) -> EventFilter:
    """What meets both; of two conditions with an index each, the second is looked for one by one."""
    rest = one.rest & other.rest
    indexed, unordered, organization = one.indexed, one.unordered, one.organization
    if other.organization is not None:
        if organization is None:
            organization = other.organization
        else:
            rest &= Q(org_id=other.organization)
    if other.indexed:
        indexed, rest = (other.indexed, rest) if not indexed else (indexed, rest & other.indexed)
    if other.unordered:
        unordered = unordered & other.unordered
    organizations = one.organizations
    if other.organizations is not None:
        organizations = other.organizations if organizations is None else organizations & other.organizations
    return replace(
        one, rest=rest, indexed=indexed, unordered=unordered, organization=organization, organizations=organizations
    )


def _is_quoted(word: str) -> bool:
    return len(word) > 1 and word[0] in "'\"" and word[0] == word[-1]


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text) if len(text) >= 36 else None  # noqa: PLR2004  (32 digits are part of a digest)
    except ValueError:
        return None


def _to_the_minute(time: datetime) -> datetime:
    return time.replace(second=0, microsecond=0)
