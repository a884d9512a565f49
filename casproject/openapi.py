"""The OpenAPI document, made once a process: nobody makes this server work for nothing by asking for it."""

import json
from functools import cache

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe


@cache
def document() -> bytes:
    """The document as JSON."""
    from drf_spectacular.generators import SchemaGenerator  # noqa: PLC0415  (a tenth of a second, when it is wanted)

    schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return json.dumps(schema, ensure_ascii=False, default=str).encode()


@require_safe
def schema(request: HttpRequest) -> HttpResponse:
    """`/api/schema/`; no token is asked for."""
    return HttpResponse(document(), content_type="application/vnd.oai.openapi+json")
