"""A session that has not met its user's second factor is nobody's."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from people import two_factor

Answer = Callable[[HttpRequest], HttpResponse]


def require_two_factor(get_response: Answer) -> Answer:
    """Behind OTPMiddleware. Who must turn it on first is led there."""

    def answer(request: HttpRequest) -> HttpResponse:
        user: Any = request.user  # to which OTPMiddleware adds a method
        if user.is_authenticated and not user.is_verified():
            if two_factor.has_one(user):
                request.user = AnonymousUser()
            elif settings.CAS_REQUIRE_TWO_FACTOR and not _is_open(request):
                return HttpResponseRedirect(reverse("admin:two_factor"))
        return get_response(request)

    return answer


def _is_open(request: HttpRequest) -> bool:
    names = ("two_factor", "logout", "login", "jsi18n", "password_change", "password_change_done")
    return request.path.startswith("/static/") or request.path in {reverse(f"admin:{name}") for name in names}
