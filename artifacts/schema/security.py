"""How a request shows its token."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "artifacts.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A JWT of the control plane, signed by ES512. It says what it allows (`role`), where "
            "(`backend` and `secret-id`), how much (`maxbytes`), and whose usage it is (`org-id`).",
        }


class QueryScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "artifacts.authentication.BearerOrQueryAuthentication"
    name = "query"

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[Any]]]:
        """One or the other."""
        return [{"bearer": []}, {"query": []}]

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "apiKey",
            "in": "query",
            "name": "t",
            "description": "The same token in the address, for a link that a browser follows.",
        }
