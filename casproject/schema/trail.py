"""The trail and the usage. Here rather than in audit: their errors have the form of the transfer API's."""

from inspect import cleandoc
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from artifacts.exceptions import Unavailable
from artifacts.schema.headers import answered
from artifacts.schema.parts import BAD_REQUEST, INTERNAL_ERROR, describe, nothing, problems_of
from audit.api import EventsView, UsageView
from audit.api_filters import FORMATS
from people import authentication

_ERRORS = problems_of(
    {
        400: {"invalid_parameter": "page_size: Ensure this value is less than or equal to 1000.", **BAD_REQUEST},
        401: {
            "not_authenticated": "Authentication credentials were not provided.",
            "authentication_failed": authentication.REFUSED,
        },
        403: {"permission_denied": "You do not have permission to perform this action."},
        406: {
            "not_acceptable": "Accept takes none of what there is: application/json, text/csv, application/x-ndjson."
        },
        429: {"throttled": f"{authentication.LOCKED} Expected available in 30 seconds."},
        500: INTERNAL_ERROR,
        503: {Unavailable.code: Unavailable.detail},
    }
)


class PasswordScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "people.authentication.PasswordAuthentication"
    name = "password"
    priority = 1  # before drf-spectacular's own

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "basic", "description": "A user of the admin; over HTTPS alone."}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "rest_framework.authentication.SessionAuthentication"
    name = "session"
    priority = 1

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid", "description": "The admin's session."}


def _page(view: Any) -> dict[Any, Any]:
    return {
        ("200", "application/json"): OpenApiResponse(view.serializer_class(many=True), "A page."),
        ("200", "text/csv"): OpenApiResponse(OpenApiTypes.STR, "A page; its first line names the columns."),
        ("200", "application/x-ndjson"): OpenApiResponse(OpenApiTypes.STR, "A page; each line is one result."),
        "302": nothing("A second factor is required, and this session has not shown one; to the page that asks."),
    } | _ERRORS


def _parameters() -> list[Any]:
    return [
        OpenApiParameter("format", {"type": "string", "enum": FORMATS}, description="Goes before the Accept header."),
        *answered(["Link", "Content-Disposition"], [200], required=False),
        *answered(["Cache-Control"], [200]),
    ]


describe(
    "audit.api.EventsView",
    get=extend_schema(
        operation_id="events",
        summary="Audit events, newest first",
        description=f"{cleandoc(EventsView.__doc__ or '')}\n\nFor staff with the permission “Can view audit event”.",
        parameters=_parameters(),
        responses=_page(EventsView),
        tags=["trail"],
    ),
)

describe(
    "audit.api.UsageView",
    get=extend_schema(
        operation_id="usage",
        summary="Usage by hour or day",
        description=f"{cleandoc(UsageView.__doc__ or '')}\n\nFor staff with the permission “Can view usage total”.",
        parameters=_parameters(),
        responses=_page(UsageView),
        tags=["trail"],
    ),
)
