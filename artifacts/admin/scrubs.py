"""Scrubs: how far each is, and what it found."""

from typing import TYPE_CHECKING

from django.contrib import admin
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html_join

from artifacts.admin.cells import LocationFilter, ReadOnly, badge, exact, second
from artifacts.models import Scrub

if TYPE_CHECKING:
    ScrubModelAdmin = admin.ModelAdmin[Scrub]
else:
    ScrubModelAdmin = admin.ModelAdmin


@admin.register(Scrub)
class ScrubAdmin(ReadOnly, ScrubModelAdmin):
    list_display = ["started", "location", "progress", "checked", "human_size", "damage", "unlabelled", "unreadable"]
    list_filter = [("location", LocationFilter)]
    list_select_related = ["location"]
    ordering = ["-id"]
    sortable_by = ["started"]
    actions = None
    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    fields = [
        *("location", "exact_started", "exact_finished", "progress", "after", "checked", "human_size"),
        *("corrupt", "missing", "unlabelled", "unreadable"),
    ]

    @admin.display(description="started (UTC)", ordering="id")
    def started(self, scrub: Scrub) -> str:
        return second(scrub.started_at)

    @admin.display(description="state")
    def progress(self, scrub: Scrub) -> str:
        """Finished, or how far it is: digests are spread evenly, so the last one tells."""
        if scrub.finished_at is not None:
            return "finished"
        share = int(scrub.after[:4] or "0", 16) / 0x10000
        is_held = scrub.leased_until is not None and scrub.leased_until > timezone.now()
        return f"{'running' if is_held else 'waiting'}, about {share:.0%}"

    @admin.display(description="read")
    def human_size(self, scrub: Scrub) -> str:
        return render_to_string("admin/cells/size.html", {"bytes": scrub.checked_bytes})

    @admin.display(description="damage")
    def damage(self, scrub: Scrub) -> str:
        found = [("corrupt", scrub.corrupt), ("missing", scrub.missing)]
        badges = [(badge(name, f"{count} {name}", "at the time of this pass"),) for name, count in found if count]
        return format_html_join(" ", "{}", badges) or "none"

    @admin.display(description="started")
    def exact_started(self, scrub: Scrub) -> str:
        return exact(scrub.started_at)

    @admin.display(description="finished")
    def exact_finished(self, scrub: Scrub) -> str:
        return exact(scrub.finished_at) if scrub.finished_at else "-"
