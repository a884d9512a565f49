"""The list of artifacts: pages of the newest that are asked for, at a cost that does not grow with the table.

A digest, a rare state and a location have an index. For all else (a part of a file name, a common state, whose an
artifact is) at most LOOKED_AT are looked at, of those that an index leaves if one helps; the page says so.
"""

import re
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from artifacts.admin.cells import LocationFilter
from artifacts.models import Artifact
from common.digest_ranges import UNMISTAKABLE, begins_with

LOOKED_AT = 50_000

_DIGEST = re.compile(rf"(sha256:)?([0-9a-f]{{{UNMISTAKABLE},64}})")


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("sound", "Sound"), ("unverified", "Not verified yet"), ("corrupt", "Corrupt"), ("missing", "Missing")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Artifact]) -> QuerySet[Artifact]:
        unmarked = queryset.filter(corrupt_at=None, missing_at=None)
        states = {
            "sound": unmarked.filter(verified_at__isnull=False),
            "unverified": unmarked.filter(verified_at=None),
            "corrupt": queryset.filter(corrupt_at__isnull=False),
            "missing": queryset.filter(missing_at__isnull=False),
        }
        return states.get(self.value() or "", queryset)

    @property
    def has_index(self) -> bool:
        return self.value() in {"corrupt", "missing"}


class NewestPaginator(Paginator):  # type: ignore[type-arg]
    """Pages of the newest rows alone: to count them all, or to skip most of them, takes longer the more there are."""

    most = 10_000

    @cached_property
    def _looked_at(self) -> int:
        rows: Any = self.object_list
        return int(rows[: self.most + 1].count())

    @property
    def has_more(self) -> bool:
        """Whether there are rows that no page shows."""
        return self._looked_at > self.most

    @cached_property
    def count(self) -> int:
        return min(self._looked_at, self.most)


class ArtifactChangeList(ChangeList):
    """Django's list, of which the database reads no more than it can quickly."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Artifact]) -> list[Any]:
        """By id alone, whatever the URL asks for: no index serves another order."""
        return ["id"] if "id" in super().get_ordering(request, queryset) else ["-id"]

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Artifact]:
        """What is asked for, as far as it is looked for; `limits` says how far, "" when all of it is found."""
        term, self.query = self.query, ""  # searched for below, once it is known by which index
        asked: QuerySet[Artifact] = super().get_queryset(request, exclude_parameters)
        self.query, self.limits = term, ""
        self.end = "oldest" if "id" in asked.query.order_by else "newest"
        if (found := self._of_digest(term)) is not None:
            self.limits = "by digest; file names were not searched"
            return asked.filter(pk__in=found)
        asked, _ = self.model_admin.get_search_results(request, asked, term)
        return self._bounded(request, asked) if asked.query.where else asked

    def _of_digest(self, term: str) -> list[int] | None:
        """Ids by all of a digest or its first digits; None: it is no digest, or rather part of a file name."""
        match = _DIGEST.fullmatch(term.strip().lower())
        if match is None:
            return None
        # In the index's order, so that every database takes the index. There are few, whatever the table.
        artifacts = Artifact.objects.filter(begins_with(match[2]))
        ids = list(artifacts.order_by("digest", "location_id").values_list("pk", flat=True)[: NewestPaginator.most])
        return ids if match[1] or self.root_queryset.filter(pk__in=ids).exists() else None

    def _bounded(self, request: HttpRequest, asked: QuerySet[Artifact]) -> QuerySet[Artifact]:
        """Of LOOKED_AT artifacts that one index knows of, those that are asked for."""
        chosen = self._with_index()
        every: QuerySet[Artifact] = Artifact.objects.order_by(*asked.query.order_by)
        indexed = chosen.queryset(request, every) if chosen else every
        ids = indexed.values_list("pk", flat=True)
        last = list(ids[LOOKED_AT - 1 : LOOKED_AT + 1])
        if len(last) > 1:
            where = f" of this {chosen.title}" if chosen else ""
            self.limits = f"among the {self.end} {LOOKED_AT:,}{where}; a whole digest finds any"
            # By both ends: by one, PostgreSQL takes the newest of an old location for most of it, and reads it all.
            low, high = sorted([last[0], ids[0]])
            asked = asked.filter(pk__gte=low, pk__lte=high)  # SQLite, in an OR, would leave out a BETWEEN
        # SQLite would rather read all of a location than its few of a state.
        return asked.filter(pk__in=ids[:LOOKED_AT]) if isinstance(chosen, StateFilter) else asked

    def _with_index(self) -> Any:
        """The filter whose index leaves the fewest, None if none has any."""
        for each in self.filter_specs:
            if isinstance(each, StateFilter) and each.has_index:
                return each
        for each in self.filter_specs:
            if isinstance(each, LocationFilter) and len(each.lookup_val or ()) == 1:
                return each
        return None
