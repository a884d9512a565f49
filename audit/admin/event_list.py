"""The list of events: pages that go on from a place in the trail, whatever is asked and however long it is.

Nothing is counted and no page is skipped to. Where no index knows whether an event is asked for, a page looks at so
many events and no more (audit/api_pages.py); it then says how far it looked, and offers to go on. While none was
found, a script goes on.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from rest_framework.serializers import ValidationError

from audit import access, api_cursor, api_pages
from audit.admin.event_form import PERIOD_WORDS, EventForm
from audit.api_pages import Effort, Page, Position
from audit.models import AuditEvent

PAGE_SIZES = (50, 100, 200)
OLDER, NEWER, SIZE = "older", "newer", "rows"  # parameters: where a page begins, and how many rows it has
EFFORT = Effort(events=20_000, step=5_000, seconds=0.12)
_FIELDS = tuple(field.attname for field in AuditEvent._meta.concrete_fields if field.name != "link")
_PAGING = (OLDER, NEWER)


def form_of(request: HttpRequest) -> EventForm:
    """The filters that the URL holds, for what this user may see."""
    return EventForm(request.GET, access.organizations_of(request.user))


class EventChangeList(ChangeList):
    """Django's list, filtered by EventForm and paged by place."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> "QuerySet[AuditEvent]":
        """What actions choose their events from: all that the user may see. The page itself is get_results'."""
        self.form = form_of(request)
        self.asked = self.form.asked()
        self.filters_shown = self.form.shown(without="q")
        self.has_filters = True
        self.filter_specs: list[Any] = []
        names = [name for name in self.form.fields if request.GET.get(name)]
        self.has_active_filters = bool(names)
        self.clear_all_filters_qs = self.address({}, without=[*self.form.fields, *_PAGING])
        return self.root_queryset

    def get_results(self, request: HttpRequest) -> None:
        """Read one page."""
        size = self.page_size = _size(request)
        newer, older = _position(request, NEWER), _position(request, OLDER)
        page = self._read(newer, newest_first=False) if newer else None
        is_upward = page is not None and (len(page.rows) == size or page.end is not None)
        if page is None or not is_upward:  # what is newer would not fill a page: the newest page is
            newer = None
            page = self._read(older, newest_first=True)
        rows = page.rows[::-1] if is_upward else page.rows
        self.result_list = [AuditEvent.from_db(None, _FIELDS, [row[name] for name in _FIELDS]) for row in rows]
        self.result_count = self.full_result_count = len(rows)
        self.show_full_result_count = False
        self.show_admin_actions = bool(rows)
        self.can_show_all = self.multi_page = False
        self.paginator = Paginator(self.result_list, size)
        if is_upward:
            above, below = page.end, _place(rows[-1]) if rows else newer
        else:
            above, below = (_place(rows[0]) if rows else older) if older else None, page.end
        self.newest_link = self.address({}) if newer or older else ""
        self.newer_link = self.address({NEWER: api_cursor.encode(above)}) if above else ""
        self.older_link = self.address({OLDER: api_cursor.encode(below)}) if below else ""
        self.looked_back_to = page.end.occurred_at if page.end and len(rows) < size else None
        # Where the browser goes on to by itself (look-further.js).
        self.further = self.older_link if self.looked_back_to and not rows and not is_upward else ""

    def _read(self, start: Position | None, *, newest_first: bool) -> Page:
        return api_pages.read_page(self.asked, _FIELDS, self.page_size, start, newest_first=newest_first, effort=EFFORT)

    def address(self, more: dict[str, str], without: Sequence[str] = _PAGING) -> str:
        """This list's query string with these parameters instead of those, the "?" included."""
        kept = {name: values for name, values in self.filter_params.items() if name not in without}
        return f"?{urlencode(sorted({**kept, **more}.items()), doseq=True)}"

    def here(self) -> str:
        """This page's own query string."""
        return self.address({}, without=())

    def filters(self) -> str:
        """The filters alone, as a query string without the "?"."""
        kept = {name: values for name, values in self.filter_params.items() if name in self.form.fields}
        return urlencode(sorted(kept.items()), doseq=True)

    def periods(self) -> list[tuple[str, str, bool]]:
        """(words, query string, whether it is chosen) of the periods that a click chooses."""
        chosen = self.filter_params.get("period", [""])[0]
        without = ["period", "from", "to", *_PAGING]
        choices = [("", "any time"), *PERIOD_WORDS.items()]
        return [
            (words, self.address({"period": name} if name else {}, without), name == chosen) for name, words in choices
        ]


def _place(row: dict[str, Any]) -> Position:
    return Position(row["occurred_at"], row["id"])


def _position(request: HttpRequest, name: str) -> Position | None:
    """A place of the URL; one that nobody was given is as none."""
    text = request.GET.get(name, "")
    if not text:
        return None
    try:
        return Position(*api_cursor.decode(text, [api_cursor.time, api_cursor.number]))
    except ValidationError:
        return None


def _size(request: HttpRequest) -> int:
    text = request.GET.get(SIZE, "")
    return int(text) if text.isascii() and text.isdigit() and int(text) in PAGE_SIZES else PAGE_SIZES[0]
