"""Every error as RFC 9457 `application/problem+json`, with a stable `code`; never a traceback, path or credential."""

import logging
from http import HTTPStatus
from typing import Any

import django.db
from django.core.exceptions import DisallowedHost, SuspiciousOperation
from rest_framework import exceptions as drf
from rest_framework.response import Response

from artifacts.exceptions import ArtifactError, Busy, InvalidRange, InvalidToken, StorageFull, Unavailable, UploadBusy
from artifacts.signals import problem_answered

logger = logging.getLogger(__name__)

RETRY_AFTER = 5  # seconds
PROBLEM = "application/problem+json"


def problem(status: int, code: str, detail: str) -> dict[str, Any]:
    """The members of a problem document (RFC 9457, section 3); `code` is our extension."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """DRF's hook: the answer for whatever a view raised."""
    status, code, detail, headers = _describe(error)
    problem_answered.send_robust(None, status=status, code=code, is_busy=isinstance(error, Busy))
    answer = Response(problem(status, code, detail), status, headers=headers, content_type=PROBLEM)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log(error, f"{context['request'].method} {context['request'].path}: {status} {code}")
        answer._has_been_logged = True  # type: ignore[attr-defined]  # else Django says it once more
    return answer


def code_of(error: Exception) -> str:
    """The code that an answer to this would have, for when another has begun."""
    return _describe(error)[1]


def _log(error: Exception, text: str) -> None:
    is_full = isinstance(error, StorageFull)
    if isinstance(error, Busy) or (is_full and error.__cause__ is None):  # a quota, which no storage has found
        logger.warning("%s", text)  # no fault of ours, and there may be very many
    else:
        logger.error("%s", text, exc_info=None if is_full else error)


def _describe(error: Exception) -> tuple[int, str, str, dict[str, str]]:
    if isinstance(error, django.db.Error):
        error = Unavailable()
    if isinstance(error, ArtifactError):
        return error.status, error.code, str(error), _headers(error)
    if isinstance(error, SuspiciousOperation):
        return 400, "bad_request", refusal(error), {}
    if isinstance(error, drf.NotAcceptable):
        forms = ", ".join(str(each.media_type) for each in error.available_renderers or ())
        return error.status_code, error.default_code, f"Accept takes none of what there is: {forms}.", {}
    if isinstance(error, drf.ValidationError):
        return error.status_code, "invalid_parameter", _by_name(error.detail), {}
    if isinstance(error, drf.APIException):
        challenge = getattr(error, "auth_header", None)  # set by DRF's views, with a 401
        headers = {"WWW-Authenticate": challenge} if challenge else {}
        if wait := getattr(error, "wait", None):  # of Throttled
            headers["Retry-After"] = str(wait)
        return error.status_code, str(error.default_code), str(error.detail), headers
    return 500, ArtifactError.code, ArtifactError.detail, {}


def refusal(error: Exception) -> str:
    """What is said of a request that Django finds suspicious."""
    if isinstance(error, DisallowedHost):
        return "The server does not answer for this host."
    return "The server does not take such a request."


def _by_name(detail: Any) -> str:
    """What is wrong with which parameter, in one text."""
    if isinstance(detail, dict):
        return " ".join(f"{name}: {_by_name(of_name)}" for name, of_name in detail.items())
    if isinstance(detail, list):
        return " ".join(_by_name(each) for each in detail)
    return str(detail)


def _headers(error: ArtifactError) -> dict[str, str]:
    if isinstance(error, InvalidToken):
        return {"WWW-Authenticate": f'Bearer realm="artifact-cas", error="{error.code}"'}
    if isinstance(error, InvalidRange):
        return {"Content-Range": f"bytes */{error.size}"}
    if isinstance(error, Unavailable | UploadBusy):
        return {"Retry-After": str(RETRY_AFTER)}
    return {}
