"""From a signal to a row: signal -> event -> row, or write-ahead log, or journal -> nudge. Nothing here raises."""

import logging
import time
import uuid
from typing import Any

from django.db import transaction
from django.db.models import Model
from django.dispatch import receiver
from django.http import HttpRequest

from artifacts.signals import artifact_deduplicated, artifact_downloaded, artifact_uploaded, person_acted
from audit import acts, nudge, write_ahead
from audit.event_rows import row_of
from audit.events import Action, Event
from audit.keeping import keep
from audit.models import State
from common.organization_ids import parse_organization

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


@receiver(person_acted)
def on_act(
    request: HttpRequest, act: str, subject: Model, org_id: uuid.UUID | None, details: dict[str, Any], **_: object
) -> None:
    acts.record(request, acts.Act[act.upper()], subject, org_id=org_id, **details)


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
    event_id: uuid.UUID | None = None,
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
        event_id=event_id or uuid.uuid4(),
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
    if action is Action.DOWNLOADED and _keep_ahead(event):
        return
    keep(event, row_of(event, State.of_new_events()))


def _keep_ahead(event: Event) -> bool:
    """Write a download's event ahead of the trail; False when it must go there directly."""
    if transaction.get_connection().in_atomic_block:
        return False
    try:
        write_ahead.append(event)
    except OSError as error:
        logger.warning("The write-ahead log did not take audit event %s: %r", event.event_id, error)
        return False
    nudge.wake()
    return True
