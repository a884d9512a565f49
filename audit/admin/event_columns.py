"""Which columns of the list a user sees; kept in the session."""

from collections.abc import Sequence

from django.http import HttpRequest

COLUMNS = {
    "organization": "organization",
    "what": "action",
    "short_digest": "digest",
    "name": "file name",
    "human_size": "size",
    "was_skipped": "skipped",
    "place": "location",
    "badge": "state",
    "sequence": "stream sequence",
    "error": "last error",
    "message_id": "message id",
}
ALWAYS = "time"  # it leads to the event
DEFAULT = ("organization", "what", "short_digest", "name", "human_size", "badge")
_KEY = "audit_event_columns"


def chosen(request: HttpRequest) -> list[str]:
    """The columns of this user, in our order."""
    kept = request.session.get(_KEY, DEFAULT) if hasattr(request, "session") else DEFAULT
    return [name for name in COLUMNS if name in kept]


def choose(request: HttpRequest, names: Sequence[str]) -> None:
    """Keep these columns; none means those that everybody begins with."""
    known = [name for name in COLUMNS if name in names]
    if known:
        request.session[_KEY] = known
    else:
        request.session.pop(_KEY, None)
