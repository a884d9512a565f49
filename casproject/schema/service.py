"""What casproject answers itself, without Django REST framework: a postprocessing hook."""

from http import HTTPStatus
from typing import Any

from artifacts.api_errors import PROBLEM, problem

_Document = dict[str, Any]

_STATES = ["ok", "failed", "unknown"]


def add_service(result: _Document, **_: Any) -> _Document:
    """Describe the probes, the metrics, and this document."""
    result["components"]["securitySchemes"]["metrics"] = {
        "type": "http",
        "scheme": "bearer",
        "description": "`CAS_METRICS_TOKEN`; not asked for from the networks of `CAS_METRICS_ALLOW`.",
    }
    result["paths"] |= {
        "/livez": {"get": _operation("livez", "Whether the process answers", {"200": _status("It does.", ["ok"])})},
        "/readyz": {
            "get": _operation(
                "readyz",
                "Whether transfers can be served",
                {
                    "200": _status("They can.", ["ok", "degraded"]),
                    "503": _status("They cannot.", ["failed", "draining"]),
                },
            )
        },
        "/metrics": {"get": _metrics()},
        "/api/schema/": {"get": _operation("schema", "This document", {"200": _document()})},
    }
    return result


def _operation(name: str, summary: str, responses: _Document, *security: _Document) -> _Document:
    return {
        "operationId": name,
        "summary": summary,
        "tags": ["service"],
        "security": list(security) or [{}],
        "responses": responses,
    }


def _status(description: str, values: list[str]) -> _Document:
    part = {"type": "string", "enum": _STATES}
    schema = {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"type": "string", "enum": values}, "database": part, "location": part},
        "additionalProperties": False,
    }
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _metrics() -> _Document:
    text = {"schema": {"type": "string"}}
    kinds = ("text/plain", "application/openmetrics-text")
    return _operation(
        "metrics",
        "What Prometheus reads",
        {
            "200": {"description": "The metrics of all processes.", "content": dict.fromkeys(kinds, text)},
            "401": _refused(401, "invalid_token", "CAS_METRICS_TOKEN is required."),
            "403": _refused(403, "forbidden", "Metrics are not for this address."),
        },
        {"metrics": []},
        {},
    )


def _refused(status: int, code: str, detail: str) -> _Document:
    example = problem(status, code, detail)
    members: _Document = {name: {"type": "string"} for name in example}
    members |= {"status": {"type": "integer", "enum": [status]}, "code": {"type": "string", "enum": [code]}}
    schema = {"type": "object", "required": list(members), "properties": members, "additionalProperties": False}
    return {
        "description": f"{HTTPStatus(status).phrase}: {code}.",
        "content": {PROBLEM: {"schema": schema, "example": example}},
    }


def _document() -> _Document:
    return {
        "description": "OpenAPI 3.",
        "content": {"application/vnd.oai.openapi+json": {"schema": {"type": "object"}}},
    }
