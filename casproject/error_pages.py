"""Errors outside REST framework's views: to a browser in the admin a page, to all else a problem document."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string

from artifacts.api_errors import PROBLEM, problem, refusal
from artifacts.exceptions import ArtifactError

_FOR_PROGRAMS = {"artifacts", "download", "uploads", "api"}  # what addresses begin with


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400: a host that is not ours, or something made to harm."""
    return _answer(request, problem(400, "bad_request", refusal(exception)))


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler403: the user lacks the permission."""
    return _answer(request, problem(403, "permission_denied", "You may not see this page, or not do this."))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404: no view has this path, or has nothing there."""
    return _answer(request, problem(404, "not_found", "There is nothing at this address."))


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500: something failed outside a REST framework view."""
    return _answer(request, problem(500, ArtifactError.code, ArtifactError.detail))


def _answer(request: HttpRequest, content: dict[str, Any]) -> HttpResponse:
    is_for_people = request.path_info.strip("/").partition("/")[0] not in _FOR_PROGRAMS
    if is_for_people and request.get_preferred_type([PROBLEM, "text/html"]) == "text/html":
        # Without the request: the database, where the user and messages are, may be what failed.
        site = {"site_title": admin.site.site_title, "site_header": admin.site.site_header}
        return HttpResponse(render_to_string("error.html", {**content, **site}), status=content["status"])
    return JsonResponse(content, status=content["status"], content_type=PROBLEM)
