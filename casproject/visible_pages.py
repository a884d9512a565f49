"""A net under all pages: characters that cannot be seen, or turn the text around, are shown as escapes.

Our templates do it for what they show of others' words (`visible`); Django's own, with names of filters, messages and
titles, do not.
"""

import json
import re
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

_UNSEEN = "\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ufeff"
_ANY = re.compile(f"[{_UNSEEN}]")
# What forms send back, and what is copied, stays as it is.
_PARTS = re.compile(
    rf'((?:data-copy|value)="[^"]*"|<textarea\b[^>]*>.*?</textarea>)|([{_UNSEEN}])', re.DOTALL | re.IGNORECASE
)


def show_unseen(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: rewrites HTML that holds such characters."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if isinstance(response, HttpResponse) and response.get("Content-Type", "").startswith("text/html"):
            text = response.content.decode(response.charset)
            if _ANY.search(text):
                response.content = _PARTS.sub(_shown, text)
                if response.has_header("Content-Length"):
                    response["Content-Length"] = str(len(response.content))
        return response

    return answer


def _shown(match: re.Match[str]) -> str:
    kept, char = match.groups()
    return kept if kept is not None else json.dumps(char)[1:-1]
