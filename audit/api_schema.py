"""What a generator of OpenAPI asks DRF's filter and pagination classes for."""

from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.filters import BaseFilterBackend
from rest_framework.pagination import BasePagination

Field = serializers.Field[Any, Any, Any, Any]


class QueryParameters(BaseFilterBackend):
    """Describes the view's `query_class`; the view itself filters."""

    def filter_queryset(self, request: Any, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        return queryset

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": str(field.help_text or ""),
                "schema": _schema(field),
            }
            for name, field in view.query_class().fields.items()
        ]


class PageSchema(BasePagination):
    """Describes `{"next", "results"}`."""

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "object",
            "required": ["next", "results"],
            "properties": {"next": {"type": "string", "format": "uri", "nullable": True}, "results": schema},
        }


class PageWithTotalsSchema(PageSchema):
    """Describes `{"next", "totals", "results"}`."""

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        page = super().get_paginated_response_schema(schema)
        page["required"].append("totals")
        page["properties"]["totals"] = {"allOf": [schema["items"]], "nullable": True}
        return page


def _schema(field: Field) -> dict[str, Any]:
    if isinstance(field, serializers.ListField):
        return {"type": "array", "items": _schema(field.child)}
    schema: dict[str, Any] = {"type": "string"}
    if isinstance(field, serializers.IntegerField):
        schema = {"type": "integer", "minimum": field.min_value, "maximum": field.max_value}
    elif isinstance(field, serializers.BooleanField):
        schema = {"type": "boolean"}
    elif isinstance(field, serializers.UUIDField):
        schema["format"] = "uuid"
    elif isinstance(field, serializers.ChoiceField):
        schema["enum"] = list(field.choices)
    if field.default is not serializers.empty:
        schema["default"] = field.to_representation(field.default)
    return schema
