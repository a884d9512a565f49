"""Parameters of the API, and of `export_events`: what may be asked, and texts to values."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from django.http import QueryDict
from rest_framework import serializers

from audit.event_filters import parse_action, parse_bytes, parse_digest, parse_time, range_problems
from audit.models import State

MAX_PAGE_SIZE = 1000
FORMATS = ["json", "csv", "ndjson"]

_T = TypeVar("_T")


def _checked(parse: Callable[[str], _T], text: str) -> _T:
    try:
        return parse(text)
    except ValueError as error:
        raise serializers.ValidationError(str(error)) from error


class TimeField(serializers.Field[datetime, str, str, Any]):
    """See parse_time."""

    def to_internal_value(self, data: str) -> datetime:
        return _checked(parse_time, data)

    def to_representation(self, value: datetime) -> str:
        return value.isoformat()


class SizeField(serializers.Field[int, str, int, Any]):
    """See parse_bytes."""

    def to_internal_value(self, data: str) -> int:
        return _checked(parse_bytes, data)

    def to_representation(self, value: int) -> int:
        return value


class DigestField(serializers.Field[str, str, str, Any]):
    """See parse_digest."""

    def to_internal_value(self, data: str) -> str:
        return _checked(parse_digest, data)

    def to_representation(self, value: str) -> str:
        return f"sha256:{value}"


class ActionField(serializers.CharField):
    """See parse_action."""

    def to_internal_value(self, data: Any) -> str:
        return _checked(parse_action, super().to_internal_value(data))


class Query(serializers.Serializer[Any]):
    """Parameters: what is unknown, or comes twice and may not, is an error, never ignored."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        fields = super().get_fields()
        # "from" is a word of Python's.
        return {"from": fields.pop("since"), **fields} if "since" in fields else fields

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if unknown := [name for name in data if name not in self.fields]:
            raise serializers.ValidationError({name: ["There is no such parameter."] for name in unknown})
        return dict(super().to_internal_value(data))

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if problems := range_problems(attrs):
            raise serializers.ValidationError({name: [text] for name, text in problems.items()})
        return attrs

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """The values of these parameters; raises ValidationError, which names the wrong ones."""
        query = cls(data=data)
        query.is_valid(raise_exception=True)
        return dict(query.validated_data)

    @classmethod
    def read_url(cls, parameters: QueryDict) -> dict[str, Any]:
        """The same for those of a URL."""
        # As a plain dict: of a form, which a QueryDict may be, DRF ignores fields that are empty.
        lists = {name for name, field in cls().fields.items() if isinstance(field, serializers.ListField)}
        if twice := [name for name, values in parameters.lists() if len(values) > 1 and name not in lists]:
            raise serializers.ValidationError({name: ["It can be given only once."] for name in twice})
        return cls.read({name: values if name in lists else values[0] for name, values in parameters.lists()})


class PageQuery(Query):
    """Which page, and in what form."""

    page_size = serializers.IntegerField(
        min_value=1, max_value=MAX_PAGE_SIZE, required=False, default=100, help_text="Rows of a page."
    )
    cursor = serializers.CharField(required=False, help_text="From `next` of the page before; opaque.")
    format = serializers.ChoiceField(FORMATS, required=False, help_text="Goes before the Accept header.")


class EventQuery(Query):
    """Filters of events; those that are given must all hold."""

    since = TimeField(required=False, help_text="Events of this time (RFC 3339, or a date; UTC) and later.")
    to = TimeField(required=False, help_text="Events before this time.")
    org = serializers.UUIDField(required=False, help_text="The organization's id.")
    action = ActionField(
        required=False, max_length=100, help_text="uploaded, deduplicated, downloaded, other, or an action type."
    )
    digest = DigestField(required=False, help_text="A digest, or its first 4 or more digits.")
    file_name = serializers.CharField(
        required=False, max_length=255, trim_whitespace=False, help_text="Part of the file name; case does not matter."
    )
    backend = serializers.CharField(
        required=False, max_length=50, trim_whitespace=False, help_text="The kind of location, such as AWS-S3."
    )
    location = serializers.CharField(
        required=False, max_length=200, trim_whitespace=False, help_text="The name of the location."
    )
    skipped = serializers.BooleanField(required=False, help_text="Whether it is an upload of what was there already.")
    state = serializers.ChoiceField(State.values, required=False, help_text="How far it is published.")
    min_size = SizeField(required=False, help_text="Bytes, such as 1500, 50MB or 1.5GiB.")
    max_size = SizeField(required=False, help_text="Bytes; this size is included.")


class EventPageQuery(EventQuery, PageQuery):
    """What `/api/events/` takes."""
