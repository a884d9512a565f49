"""Usage as the API shows it: sums of the totals that sealing keeps, grouped as asked."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import DateTimeField, Exists, Field, OuterRef, QuerySet, TextField, UUIDField, Value
from django.utils import timezone
from rest_framework import serializers

from audit import api_cursor, usage_sums
from audit.api_filters import PageQuery, TimeField
from audit.api_pages import compare
from audit.api_rows import utc
from audit.models import Granularity, Organization, UsageSum, UsageTotal
from audit.usage import Usage
from audit.usage_sums import FIGURES

DEFAULT_DAYS = 30
LONGEST = {Granularity.HOUR: 92, Granularity.DAY: 3660}  # days that one answer may span
MOST = 1_000_000  # totals that one answer may add up: two seconds, on SQLite

_FILTERS = frozenset({"org", "backend", "location"})
_STEPS = {Granularity.HOUR: timedelta(hours=1), Granularity.DAY: timedelta(days=1)}


class _Group(NamedTuple):
    column: str
    read: api_cursor.Reader
    field: "Field[Any, Any]"


GROUPS = {  # in the order of the unique key's index
    "start": _Group("start", api_cursor.time, DateTimeField()),
    "org": _Group("org_id", api_cursor.identifier, UUIDField()),
    "backend": _Group("backend", api_cursor.text, TextField()),
    "location": _Group("location", api_cursor.text, TextField()),
}

_IN_ORDER = [list(GROUPS)[:count] for count in (2, 3, 4)]


class GroupField(serializers.Field[list[str], str, str, Any]):
    """Names of groups, separated by commas; in the order of GROUPS, each once."""

    def to_internal_value(self, data: str) -> list[str]:
        names = data.split(",")
        if not set(names) <= GROUPS.keys() or len(set(names)) < len(names):
            raise serializers.ValidationError(f"Not some of {', '.join(GROUPS)}, separated by commas.")
        return [name for name in GROUPS if name in names]

    def to_representation(self, value: list[str]) -> str:
        return ",".join(value)


class UsageQuery(PageQuery):
    """What `/api/usage/` takes."""

    since = TimeField(
        required=False, help_text=f"Hours or days from this one on; by default {DEFAULT_DAYS} days before `to`."
    )
    to = TimeField(required=False, help_text="Hours or days before this one; by default all until now.")
    granularity = serializers.ChoiceField(
        Granularity.values, required=False, default=Granularity.DAY.value, help_text="In UTC."
    )
    org = serializers.ListField(
        child=serializers.UUIDField(), required=False, max_length=100, help_text="Organizations' ids; repeatable."
    )
    backend = serializers.CharField(
        required=False, max_length=50, trim_whitespace=False, help_text="The kind of location, such as AWS-S3."
    )
    location = serializers.CharField(
        required=False, max_length=200, trim_whitespace=False, help_text="The name of the location."
    )
    group_by = GroupField(
        required=False, default=["start", "org"], help_text="Of start, org, backend, location; separated by commas."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        granularity = Granularity(attrs["granularity"])
        for name in ("from", "to"):
            if name in attrs and attrs[name] != _begin(attrs[name], granularity):
                raise serializers.ValidationError({name: [f"It must be the first moment of a UTC {granularity}."]})
        try:
            attrs.setdefault("to", _begin(timezone.now(), granularity) + _STEPS[granularity])
            attrs.setdefault("from", attrs["to"] - timedelta(days=DEFAULT_DAYS))
        except OverflowError as error:
            raise serializers.ValidationError({"to": ["There is no such time."]}) from error
        if attrs["to"] - attrs["from"] > timedelta(days=LONGEST[granularity]):
            days = LONGEST[granularity]
            raise serializers.ValidationError({"from": [f"By {granularity}, at most {days} days can be asked for."]})
        return super().validate(attrs)


class UsageSerializer(serializers.Serializer[Any]):
    """Usage of a group; of `start`, `org_id`, `backend` and `location` it has what it is grouped by."""

    start = serializers.DateTimeField(required=False, help_text="The first moment of the hour or day.")
    org_id = serializers.UUIDField(required=False)
    backend = serializers.CharField(required=False)
    location = serializers.CharField(required=False)
    uploaded_bytes = serializers.IntegerField()
    downloaded_bytes = serializers.IntegerField()
    saved_bytes = serializers.IntegerField(help_text="Not stored again, for they were there.")
    uploads = serializers.IntegerField()
    downloads = serializers.IntegerField()
    skipped_uploads = serializers.IntegerField()
    dedup_ratio = serializers.FloatField(
        allow_null=True, help_text="saved_bytes of all bytes that came to be uploaded, 0 to 1; null when none did."
    )


class UsagePage(NamedTuple):
    rows: list[dict[str, Any]]
    end: list[Any] | None


def columns_of(query: Mapping[str, Any]) -> list[str]:
    return [*(GROUPS[name].column for name in query["group_by"]), *FIGURES]


def read_page(query: Mapping[str, Any], after: list[Any] | None) -> UsagePage:
    """A page of groups in ascending order of what they are grouped by, from behind `after` on.

    Raises ValidationError when it would add up more than MOST totals.
    """
    names, size = query["group_by"], query["page_size"]
    groups = [GROUPS[name] for name in names]
    columns = [group.column for group in groups]
    totals = _selected(query, names)
    if names[0] == "org":
        totals = _of_organizations(totals, query, after)
    if not _is_read_in_order(query):
        _refuse_many(totals)
    totals = _at_place(totals, query)
    if after is not None:
        values = [Value(value, group.field) for value, group in zip(after, groups, strict=True)]
        totals = totals.filter(compare(columns, ">", values))
    rows = list(totals.values(*columns).annotate(**usage_sums.sums()).order_by(*columns)[: size + 1])
    end = [rows[size - 1][column] for column in columns] if len(rows) > size else None
    return UsagePage([_shown(row) for row in rows[:size]], end)


def read_totals(query: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that is asked for, as one row; raises ValidationError when that would add up more than MOST totals."""
    totals = _selected(query, [])
    if not _is_of_all(query, []):
        _refuse_many(totals)
    return _shown(_at_place(totals, query).aggregate(**usage_sums.sums()))


def _begin(time: datetime, granularity: Granularity) -> datetime:
    hour = time.replace(minute=0, second=0, microsecond=0)
    return hour if granularity == Granularity.HOUR else hour.replace(hour=0)


def _selected(query: Mapping[str, Any], names: list[str]) -> QuerySet[Any]:
    """By the unique key's index, which begins with these two, or by the organizations'.

    Of all organizations together there are sums: `UsageSum` has the same fields, but for what they are summed over.
    """
    model: Any = UsageSum if _is_of_all(query, names) else UsageTotal
    totals: QuerySet[Any] = model.objects.filter(
        granularity=query["granularity"], start__gte=query["from"], start__lt=query["to"]
    )
    return totals.filter(org_id__in=query["org"]) if "org" in query else totals


def _is_of_all(query: Mapping[str, Any], names: list[str]) -> bool:
    return not (_FILTERS & query.keys()) and set(names) <= {"start"}


def _is_read_in_order(query: Mapping[str, Any]) -> bool:
    """Whether an index has the groups one after the other, so that the database stops at the page's end."""
    names = query["group_by"]
    return _is_of_all(query, names) or ("org" not in query and names in _IN_ORDER)


def _of_organizations(totals: QuerySet[Any], query: Mapping[str, Any], after: list[Any] | None) -> QuerySet[Any]:
    """Those of as many organizations as a page can have: to find the first groups, all would have to be made."""
    known = Organization.objects.filter(Exists(_at_place(totals, query).filter(org_id=OuterRef("pk"))))
    if "org" in query:
        known = known.filter(pk__in=query["org"])
    if after is not None:
        known = known.filter(pk__gte=after[0])  # which may have further groups, or none
    return totals.filter(org_id__in=list(known.order_by("pk").values_list("pk", flat=True)[: query["page_size"] + 2]))


def _at_place(totals: QuerySet[Any], query: Mapping[str, Any]) -> QuerySet[Any]:
    return totals.filter(**{name: query[name] for name in ("backend", "location") if name in query})


def _refuse_many(totals: QuerySet[Any]) -> None:
    if totals.order_by()[MOST : MOST + 1].exists():
        ask_for = "ask for less time, for some organizations, or for a smaller page"
        problem = f"More than {MOST:,} totals would be added up: {ask_for}."
        raise serializers.ValidationError({"from": [problem]})


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = {group.column: row[group.column] for group in GROUPS.values() if group.column in row}
    if "start" in shown:
        shown["start"] = utc(shown["start"])
    if "org_id" in shown:
        shown["org_id"] = str(shown["org_id"])
    return shown | usage_sums.figures_of(Usage(**usage_sums.counts_of(row)))
