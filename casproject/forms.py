"""Forms, which anybody may send to the admin's login page, must not take all threads, nor the disk."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from artifacts.admission import Slots
from artifacts.api_errors import RETRY_AFTER
from artifacts.exceptions import Busy, TooLarge
from artifacts.views import ArtifactAPIView

_FORMS = Slots(max(2, (settings.CAS_WEB_THREADS - settings.CAS_MAX_TRANSFERS) // 2))


class LimitForms:
    """Bounds the requests with a body that are under way, and their size, but for the API's, which has its own bounds.

    Before Django's CSRF check, which is the first to read a form.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        try:
            return self._get_response(request)
        finally:
            if slot := getattr(request, "form_slot", None):
                slot.release()

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        has_body = request.META.get("CONTENT_LENGTH") or "HTTP_TRANSFER_ENCODING" in request.META
        if not has_body or issubclass(getattr(view, "cls", object), ArtifactAPIView):
            return None
        # No form here has a file, which Django would write to disk however large it is; in chunks it reads nothing.
        if _length_of(request) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            return HttpResponse("The form is too large.", status=TooLarge.status, content_type="text/plain")
        try:
            request.form_slot = _FORMS.take("forms")  # type: ignore[attr-defined]
        except Busy as error:
            return busy(error)
        return None


def busy(error: Busy) -> HttpResponse:
    """The answer to a person for whom there is no slot."""
    headers = {"Retry-After": str(RETRY_AFTER)}
    return HttpResponse(str(error), status=error.status, content_type="text/plain", headers=headers)


def _length_of(request: HttpRequest) -> int:
    """As Django takes it, for which a length that is no number is 0."""
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0
