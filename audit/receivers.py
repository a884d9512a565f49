"""From a signal to a row: signal -> event -> row, or journal -> nudge. Nothing here raises."""

import logging
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

import django.db
from django.conf import settings
from django.db import transaction
from django.dispatch import receiver

from artifacts.signals import artifact_deduplicated, artifact_downloaded, artifact_uploaded
from audit import journal, nudge
from audit.events import Action, Event
from audit.models import AuditEvent, State

logger = logging.getLogger(__name__)


@receiver(artifact_uploaded)
def on_upload(**values: Any) -> None:
    record(Action.UPLOADED, **values)


@receiver(artifact_deduplicated)
def on_deduplicated_upload(**values: Any) -> None:
    record(Action.UPLOADED, skipped=True, **values)


@receiver(artifact_downloaded)
def on_download(**values: Any) -> None:
    record(Action.DOWNLOADED, **values)


def record(
    action: Action,
    *,
    digest: str,
    size_bytes: int,
    file_name: str,
    backend: str,
    location: str,
    org_id: str,
    source_internal: bool,
    skipped: bool = False,
    **_: object,
) -> None:
    """Keep one event, unless it is the control plane's own traffic or names no organization."""
    if source_internal:
        return
    organization = parse_organization(org_id)
    if organization is None:
        logger.warning("No audit event for this transfer: its organization is not a UUID: %.64r", org_id)
        return
    event = Event(
        event_id=uuid.uuid4(),
        timestamp_ns=time.time_ns(),
        action=action,
        org_id=organization,
        digest=digest,
        size_bytes=size_bytes,
        file_name=file_name,
        backend=backend,
        location=location,
        skipped=skipped,
    )
    try:
        # A savepoint inside the upload's transaction, so that only the event fails, not the upload.
        with transaction.atomic():
            AuditEvent.of(event, State.of_new_events()).save()
    except django.db.Error:
        logger.exception("The database did not take audit event %s; it goes to the journal", event.event_id)
        _after_commit(lambda: journal.append(event))
        _after_commit(nudge.wake)
        return
    if settings.NATS_URL:
        _after_commit(nudge.wake)


# What Go's uuid.Parse takes, for the control plane is written in it; Python's UUID takes a good deal more.
_UUID = re.compile(r"(urn:uuid:)?\{?[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}\}?", re.IGNORECASE)


def parse_organization(org_id: str) -> uuid.UUID | None:
    """The organization of a token's `org-id`; None when that is no UUID."""
    return uuid.UUID(org_id.lower()) if _UUID.fullmatch(org_id) else None


def _after_commit(work: Callable[[], None]) -> None:
    """Do it once the transfer is recorded, for what is rolled back was never acknowledged; outside a transaction, now.

    `transaction.on_commit` alone will not do: outside a transaction it wants a database that answers, and of one
    that is already lost Django ends the block without an error and without its hooks, so the transfer is acknowledged.
    """
    connection = transaction.get_connection()
    if connection.in_atomic_block and not connection.needs_rollback:
        transaction.on_commit(work, robust=True)
    else:
        work()
