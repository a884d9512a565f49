"""The list of organizations: each with its usage of a period, in order of that or of its name.

No page costs much more for there being many: they are in the order of an index (names), or the first are in that of
a ranking (usage) and the others follow; and usage is added up for the organizations of a page.
"""

from collections.abc import Sequence
from typing import Any, Literal, cast
from uuid import UUID

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.core.paginator import InvalidPage, Paginator
from django.db.models import QuerySet
from django.http import HttpRequest

from audit import access, organization_ranking, organization_usage, periods
from audit.models import Organization
from audit.organization_ranking import Measure, Ranking

NAME = "name"
_DEFAULT = Measure.MOVED
_Rows = QuerySet[Organization]


class InOrder:
    """Organizations as a paginator wants them: some by their ids, then the others, those with a name first."""

    def __init__(self, rows: _Rows, first: Sequence[UUID], *, is_reversed: bool) -> None:
        self._rows = rows
        lots: list[tuple[Sequence[UUID] | _Rows, int]] = [(first[::-1] if is_reversed else first, len(first))]
        for some in (rows.filter(display_name__gt=""), rows.filter(display_name="")):
            others, count = some, some.count()
            if first:
                # Counted apart: to leave out a thousand of all takes far longer than to find them.
                others, count = some.exclude(pk__in=first), count - some.filter(pk__in=first).count()
            lots.append((_sorted(others, is_reversed), count))
        # Of usage, the least comes first when it is reversed; of names, those without one stay last.
        self._lots = [*lots[1:], lots[0]] if is_reversed else lots

    def count(self) -> int:
        return sum(count for _, count in self._lots)

    def __len__(self) -> int:
        return self.count()

    def __getitem__(self, page: slice) -> list[Organization]:
        begin, end = int(page.start or 0), min(int(page.stop), self.count())
        found: list[Organization] = []
        for lot, count in self._lots:
            if begin < count and end > 0:
                found += self._read(lot, max(begin, 0), min(end, count))
            begin, end = begin - count, end - count
        return found

    def _read(self, lot: Sequence[UUID] | _Rows, begin: int, end: int) -> list[Organization]:
        if isinstance(lot, QuerySet):
            return list(lot[begin:end])
        rows = self._rows.in_bulk(lot[begin:end])
        return [rows[each] for each in lot[begin:end] if each in rows]


class OrganizationChangeList(ChangeList):
    """Django's list, in an order that no column has."""

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        """All but the period, which chooses no rows."""
        found = super().get_filters_params(params)
        return {name: value for name, value in found.items() if name not in periods.PARAMETERS}

    def get_ordering(self, request: HttpRequest, queryset: _Rows) -> list[Any]:
        """Of the rows themselves, none: get_results puts a page in order."""
        return []

    def get_ordering_field_columns(self) -> dict[int, Literal["desc", "asc"]]:
        """Which column is marked as the one that orders, and how."""
        by, is_descending = self._order()
        for number, name in enumerate(self.list_display):
            field = self._field(name)
            if field.removeprefix("-") == by:
                # As Django has it: a column that begins with the most is ascending then.
                return {number: "desc" if is_descending != field.startswith("-") else "asc"}
        return {}

    def get_results(self, request: HttpRequest) -> None:
        """Read one page, and the usage of its organizations."""
        self.period, problem = periods.read(request.GET)
        self.period_context = periods.context(self.period, request.GET, problem)
        by, is_descending = self._order()
        # Whether somebody may see them all, the database need not compare them one by one.
        among = self.queryset if self.query or access.organizations_of(request.user) is not None else None
        self.ranking = Ranking([]) if by == NAME else organization_ranking.ranked(Measure(by), self.period, among)
        self.is_cut_off = len(self.ranking.organizations) == organization_ranking.MOST
        is_reversed = is_descending if by == NAME else not is_descending
        rows = InOrder(self.queryset, self.ranking.organizations, is_reversed=is_reversed)
        self.paginator = Paginator(cast(Any, rows), self.list_per_page)
        self.result_count = self.full_result_count = self.paginator.count
        self.show_full_result_count = self.show_admin_actions = self.can_show_all = False
        self.multi_page = self.result_count > self.list_per_page
        try:
            self.result_list: Any = list(self.paginator.page(self.page_num).object_list)
        except InvalidPage as error:
            raise IncorrectLookupParameters from error
        if self.sees_usage:
            usage = organization_usage.by_organization([row.pk for row in self.result_list], self.period)
            for row in self.result_list:
                row.usage = usage[row.pk]  # for the columns of OrganizationAdmin

    @property
    def sees_usage(self) -> bool:
        """Whether the user may see what organizations transferred."""
        return len(self.list_display) > 1

    def _order(self) -> tuple[str, bool]:
        """What the page is ordered by, NAME or a measure, and whether downwards; what cannot be read is the default."""
        default = (str(_DEFAULT), True) if self.sees_usage else (NAME, False)
        chosen = self.params.get(ORDER_VAR, "").split(".")[0]
        number = chosen.removeprefix("-")
        if not (number.isascii() and number.isdigit() and int(number) < len(self.list_display)):
            return default
        field = self._field(self.list_display[int(number)])
        return (field.removeprefix("-"), chosen.startswith("-") != field.startswith("-")) if field else default

    def _field(self, name: Any) -> str:
        """What the column of this name is ordered by, "-" first when by the most; "" when by nothing."""
        return str(self.get_ordering_field(name) or "")


def _sorted(rows: _Rows, is_reversed: bool) -> _Rows:
    rows = rows.order_by("display_name", "org_id")
    return rows.reverse() if is_reversed else rows
