"""Liveness, readiness and metrics. NATS and the broker have no say: transfers do not need them."""

import math
import time
from collections.abc import Callable

import django.db
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse

from artifacts import locations
from artifacts.exceptions import StorageError
from artifacts.models import Location
from artifacts.storage import open_store
from casproject import drain
from casproject.observability.scrape import metrics
from common.first_query import first_query

DEFAULT_LOCATION = "default"


def livez(request: HttpRequest) -> JsonResponse:
    """200 while the process answers."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """200 when transfers can be served: the default location, if there is one, can be used; else 503.

    While the database is away, that goes by what this process remembers: 503 when it knows of no location, but for
    installations that have no default one. 503 also while the process drains, for whoever balances load by it.
    """
    if drain.has_begun():
        return JsonResponse({"status": "draining"}, status=503)
    status, checks = "ok", {"database": "ok", "location": "ok"}
    try:
        default = _default_locations()
    except django.db.Error:
        known = locations.remembered()
        default = [location for location in known if location.name == DEFAULT_LOCATION]
        can_serve = known or locations.is_fresh(_NoDefault.seen_at)
        checks = {"database": "failed", "location": "ok" if can_serve else "unknown"}
        status = "degraded"
    try:
        for location in default:
            open_store(location).check()
    except StorageError:
        checks["location"] = "failed"
    if checks["location"] != "ok":
        status = "failed"
    return JsonResponse({"status": status, **checks}, status=503 if status == "failed" else 200)


class _NoDefault:
    """When there was seen to be no default location, by time.monotonic."""

    seen_at = -math.inf


def _default_locations() -> list[Location]:
    """Those of all backends, and what is to be remembered of that; raises django.db.Error."""
    default = first_query(lambda: list(Location.objects.filter(name=DEFAULT_LOCATION)))
    for location in default:
        locations.remember(location)
    _NoDefault.seen_at = -math.inf if default else time.monotonic()
    return default


PROBES: dict[str, Callable[[HttpRequest], HttpResponse]] = {"/livez": livez, "/readyz": readyz, "/metrics": metrics}


def answer_probes(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware, the first: a probe comes by IP address, which no list of allowed hosts has, and by plain HTTP."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        probe = PROBES.get(request.path_info)
        return probe(request) if probe else get_response(request)

    return middleware
