"""Liveness and readiness. NATS and the broker have no say: transfers do not need them."""

import django.db
from django.http import HttpRequest, JsonResponse

from artifacts.exceptions import StorageError
from artifacts.models import Location
from artifacts.storage import open_store

DEFAULT_LOCATION = "default"


def livez(request: HttpRequest) -> JsonResponse:
    """200 while the process answers."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """200 when the database answers and the default location, if there is one, can be used; else 503."""
    checks = {"database": "ok", "location": "ok"}
    try:
        for location in Location.objects.filter(name=DEFAULT_LOCATION):
            open_store(location).check()
    except django.db.Error:
        checks["database"] = "failed"
    except StorageError:
        checks["location"] = "failed"
    is_ready = set(checks.values()) == {"ok"}
    return JsonResponse({"status": "ok" if is_ready else "failed", **checks}, status=200 if is_ready else 503)
