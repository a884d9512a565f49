"""How much a location holds, without counting for long."""

from django.db.models import Count, Sum

from artifacts.models import Artifact, Location

MOST_COUNTED = 10_000


def labelled(location: Location) -> tuple[int, int]:
    """(artifacts, bytes) that the database knows to be there; of more than MOST_COUNTED, not all are looked at."""
    some = Artifact.objects.filter(location=location, missing_at=None).order_by()[: MOST_COUNTED + 1]
    totals = some.aggregate(count=Count("pk"), size=Sum("size_bytes"))
    return totals["count"], totals["size"] or 0
