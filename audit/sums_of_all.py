"""The sums of all organizations' totals, made anew from the totals: for what was there, or counted, without them."""

from datetime import datetime, timedelta

from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Sum
from django.utils import timezone

from audit.models import TrailHead, UsageSum, UsageTotal
from audit.totals import within_limit
from audit.usage_sums import halves, whole
from common.transactions import write_transaction

_KEPT_SINCE = "0008_sums_of_all"
RECENT = timedelta(days=2)  # a release before this one may have counted while both ran


def catch_up_after_upgrade() -> None:
    """Of the last days, for as long as a release without these sums may still be counting: RECENT after its end."""
    upgrades = MigrationRecorder(connection).migration_qs.filter(app="audit", name=_KEPT_SINCE)
    if upgrades.filter(applied__gt=timezone.now() - RECENT).exists():
        catch_up()


def catch_up(since: datetime | None = None) -> None:
    """Make the sums of the days from `since` (UTC midnight) on; of the last days by default. Sealing waits for it."""
    if since is None:
        since = (timezone.now() - RECENT).replace(hour=0, minute=0, second=0, microsecond=0)
    with write_transaction():
        TrailHead.locked()
        rows = UsageTotal.objects.filter(start__gte=since).values("granularity", "start", "kind").order_by()
        rows = rows.annotate(count=Sum("transfers"), **halves("size", "bytes"))
        found = [
            UsageSum(
                granularity=row["granularity"],
                start=row["start"],
                kind=row["kind"],
                transfers=row["count"],
                bytes=within_limit(whole("size", row)),
            )
            for row in rows.iterator()
        ]
        UsageSum.objects.filter(start__gte=since).delete()
        UsageSum.objects.bulk_create(found, batch_size=500)
