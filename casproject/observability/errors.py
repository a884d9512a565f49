"""Errors to Sentry. Its SDK is loaded only when SENTRY_DSN is set (docs/observability.md)."""

from typing import Any

import sentry_sdk
from django.conf import settings
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.integrations.django import DjangoIntegration

from casproject.observability.redaction import redact_all
from casproject.version import VERSION
from common.origin import request_id

_OF_REQUESTS = ("method", "url")  # no query, which may be a token; no header, cookie or body


def begin() -> None:
    """Report errors from now on, from a thread of the SDK's own."""
    sentry_sdk.init(
        dsn=settings.SENTRY_DSN,
        release=VERSION,
        integrations=[DjangoIntegration(), CeleryIntegration()],
        auto_enabling_integrations=False,
        send_default_pii=False,
        include_local_variables=False,  # they may be tokens, keys, and what clients send
        max_request_body_size="never",
        before_send=clean,
        before_breadcrumb=_clean_breadcrumb,
    )


def clean(event: Any, hint: dict[str, Any]) -> Any:
    """An event without what looks like a secret, and with its request's id."""
    if "request" in event:
        kept = {name: event["request"][name] for name in _OF_REQUESTS if name in event["request"]}
        if "url" in kept:
            kept["url"] = kept["url"].partition("?")[0]
        event["request"] = kept
    event |= redact_all(event)
    if found := request_id():
        event.setdefault("tags", {})["request_id"] = found
    return event


def _clean_breadcrumb(breadcrumb: Any, hint: dict[str, Any]) -> Any:
    return redact_all(breadcrumb)
