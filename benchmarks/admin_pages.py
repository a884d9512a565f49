"""The admin's pages over one database, for benchmarks/admin.py: names of pages come in, milliseconds go out."""

import json
import os
import sys
import time
from collections import Counter
from uuid import UUID

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "casproject.settings")

django.setup()

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Sum
from django.test import Client
from django.urls import reverse

from audit import api_cursor
from audit.admin.event_list import PAGE_SIZES
from audit.models import AuditEvent, Granularity, UsageTotal


def pages() -> dict[str, str]:
    """Address by name, for what this database holds: recent events, and events far down."""
    ordered = AuditEvent.objects.order_by("occurred_at", "id")
    newest = AuditEvent.objects.order_by("-occurred_at", "-id").first()
    oldest = ordered.first()
    if newest is None or oldest is None:
        raise SystemExit("There are no events.")
    middle = oldest.occurred_at + (newest.occurred_at - oldest.occurred_at) / 10
    deep = ordered.filter(occurred_at__gte=middle).first() or newest
    place = api_cursor.encode((deep.occurred_at, deep.pk))
    events = reverse("admin:audit_auditevent_changelist")
    digest, (busy, *_, quiet) = _popular(), _organizations()
    day = f"{deep.occurred_at:%Y-%m-%d}"
    index, organization = reverse("admin:index"), reverse("admin:audit_organization_change", args=[busy])
    queries = {
        "no filter": "",
        "deep page": f"older={place}",
        "deep page, upwards": f"newer={place}",
        "last 24 hours": "period=24h",
        "last 30 days": "period=30d",
        "a day long ago": f"from={day}&to={day}T23:59",
        "organization": f"organization={busy}",
        "organization, little used": f"organization={quiet}",
        "uploaded": "action=uploaded",
        "deduplicated": "action=deduplicated",
        "downloaded": "action=downloaded",
        "other actions, none": "action=other",
        "skipped": "skipped=true",
        "state failed, none": "state=failed",
        "state pending, none": "state=pending",
        "state local": "state=local",
        "location": "location=archive",
        "backend": "backend=GCS",
        "size": "min_size=1GB",
        "size, none": "min_size=900TB",
        "organization, action, size, period": f"organization={busy}&action=downloaded&min_size=10kB&period=30d",
        "digest": f"digest={digest}",
        "digest's first 12": f"digest={digest[:12]}",
        "digest's first 4": f"digest={digest[:4]}",
        "search: digest": f"q={digest}",
        "search: digest's first 8": f"q={digest[:8]}",
        "search: file name": "q=sbom",
        "search: file name, none": "q=no-such-name",
        "search: organization's id": f"q={busy}",
        "search: event's id": f"q={deep.event_id}",
    }
    return {
        **{f"events: {name}": f"{events}?{query}" for name, query in queries.items()},
        "event": reverse("admin:audit_auditevent_change", args=[deep.pk]),
        "overview, 24 hours": f"{index}?period=24h",
        "overview, 7 days": f"{index}?period=7d",
        "overview, 30 days": f"{index}?period=30d",
        "overview, 90 days": f"{index}?period=90d",
        "organizations": reverse("admin:audit_organization_changelist"),
        "organization": f"{organization}?period=7d",
        "organization, 90 days": f"{organization}?period=90d",
        "live": f"{events}live/",
    }


def _popular() -> str:
    """The digest that most of the newest events are of: its events fill a page, however few events there are."""
    newest = AuditEvent.objects.order_by("-occurred_at", "-id").values_list("digest", flat=True)[:10_000]
    [(digest, _)] = Counter(newest).most_common(1)
    return digest


def _organizations() -> list[UUID]:
    """Those whose events fill a page, the busiest first."""
    days = UsageTotal.objects.filter(granularity=Granularity.DAY)
    used = days.values("org_id").annotate(events=Sum("transfers")).filter(events__gt=PAGE_SIZES[0])
    return list(used.order_by("-events").values_list("org_id", flat=True))


def serve() -> None:
    """In a process of its own: names of pages come in, milliseconds go out."""

    client = Client(headers={"Host": "localhost"})
    client.force_login(User.objects.get_or_create(username="benchmark", is_staff=True, is_superuser=True)[0])
    addresses = pages()
    client.get(addresses["events: no filter"])
    last = AuditEvent.objects.order_by("-id").values_list("id", flat=True).first()
    print(json.dumps({"pages": list(addresses), "vendor": connection.vendor, "events": last}), flush=True)
    for line in sys.stdin:
        address = addresses[line.rstrip("\n")]
        began = time.perf_counter()
        answer = client.get(address, follow=True)
        took = (time.perf_counter() - began) * 1000
        if answer.status_code != 200:
            raise SystemExit(f"{address}: {answer.status_code}")
        print(json.dumps(took), flush=True)


if __name__ == "__main__":
    serve()
