"""`/metrics`, for whoever has the token, or asks from an address that is allowed and not through a proxy."""

import hmac
from ipaddress import ip_address

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse

from artifacts.api_errors import PROBLEM, problem
from casproject.observability import exposition, process, state
from casproject.observability.addresses import parse_networks

# Whoever has one of these came through a proxy, whose address says nothing of theirs.
_FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA")


def metrics(request: HttpRequest) -> HttpResponse:
    """The metrics of all processes; 401 or 403 for others."""
    if request.method not in {"GET", "HEAD"}:
        return _refuse(405, "method_not_allowed", "Metrics can only be read.", Allow="GET, HEAD")
    if not is_allowed(request):
        if settings.CAS_METRICS_TOKEN:
            challenge = {"WWW-Authenticate": 'Bearer realm="metrics"'}
            return _refuse(401, "invalid_token", "The token of CAS_METRICS_TOKEN is required.", **challenge)
        return _refuse(403, "forbidden", "Metrics are not for this address.")
    content, content_type = exposition.render(
        request.META.get("HTTP_ACCEPT", ""), process.sharing().collect(), state.read()
    )
    return HttpResponse(content, content_type=content_type, headers={"Cache-Control": "no-store"})


def is_allowed(request: HttpRequest) -> bool:
    """Whether the request shows the token, or comes straight from an address that needs none."""
    scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    if settings.CAS_METRICS_TOKEN and scheme.lower() == "bearer":
        return hmac.compare_digest(token.strip().encode(), settings.CAS_METRICS_TOKEN.encode())
    if any(name in request.META for name in _FORWARDED):
        return False
    try:
        address = ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address  # as a socket for both has them
    return any(address in network for network in parse_networks(settings.CAS_METRICS_ALLOW))


def _refuse(status: int, code: str, detail: str, **headers: str) -> HttpResponse:
    return JsonResponse(problem(status, code, detail), status=status, content_type=PROBLEM, headers=headers)
