"""Liveness, readiness and metrics. NATS and the broker have no say: transfers do not need them."""

from collections.abc import Callable

import django.db
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse

from artifacts.exceptions import StorageError
from artifacts.models import Location
from artifacts.storage import open_store
from casproject import drain
from casproject.observability.scrape import metrics

DEFAULT_LOCATION = "default"


def livez(request: HttpRequest) -> JsonResponse:
    """200 while the process answers."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """200 when the database answers and the default location, if there is one, can be used; else 503.

    503 also while the process drains, for whoever balances load by it.
    """
    if drain.has_begun():
        return JsonResponse({"status": "draining"}, status=503)
    checks = {"database": "ok", "location": "ok"}
    try:
        for location in Location.objects.filter(name=DEFAULT_LOCATION):
            open_store(location).check()
    except django.db.Error:
        checks = {"database": "failed", "location": "unknown"}  # which folder or bucket it is, the database knows
    except StorageError:
        checks["location"] = "failed"
    is_ready = set(checks.values()) == {"ok"}
    return JsonResponse({"status": "ok" if is_ready else "failed", **checks}, status=200 if is_ready else 503)


PROBES: dict[str, Callable[[HttpRequest], HttpResponse]] = {"/livez": livez, "/readyz": readyz, "/metrics": metrics}


def answer_probes(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware, the first: a probe comes by IP address, which no list of allowed hosts has, and by plain HTTP."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        probe = PROBES.get(request.path_info)
        return probe(request) if probe else get_response(request)

    return middleware
