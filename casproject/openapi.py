"""The OpenAPI document, made once a process: nobody makes this server work for nothing by asking for it."""

import json
from functools import cache

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

# All comes from here. Swagger UI's style sheet has its pictures in `data:` addresses; nothing else is let in.
_PAGE_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)


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


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """`/api/docs/`: the document in Swagger UI, whose files are this server's own."""
    answer = render(request, "api_docs.html")
    answer["Content-Security-Policy"] = _PAGE_POLICY
    return answer
