"""Where events wait that the database could not take: one file each, as in a Maildir, under CAS_DATA_DIR/journal."""

import json
import logging
import os
import uuid
from dataclasses import asdict
from pathlib import Path

import django.db
from django.conf import settings
from django.core.exceptions import ValidationError

from audit.events import Action, Event
from audit.models import AuditEvent, State

logger = logging.getLogger(__name__)

_PARTIAL = ".partial"


def append(event: Event) -> None:
    """Write the event durably. If even that fails, the log has all of it; nothing is raised."""
    line = json.dumps(asdict(event), default=str)
    try:
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        final = folder / f"{event.timestamp_ns}-{event.event_id}.json"
        partial = final.with_suffix(_PARTIAL)
        with partial.open("w") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(final)
        _fsync_folder(folder)
    except OSError:
        logger.critical("The journal did not take this audit event: %s", line, exc_info=True)


def pending() -> list[Path]:
    """The files that wait, oldest first."""
    return sorted(_folder().glob("*.json"))


def take_in() -> int:
    """Move waiting events into the trail, each once, and return how many; stop when the database still refuses.

    Several processes may do this at once: the row's unique event id decides, and a file goes only after its row.
    """
    taken = 0
    for path in pending():
        try:
            row = AuditEvent.of(_read(path), State.PENDING if settings.NATS_URL else State.LOCAL)
            row.clean_fields()
            AuditEvent.objects.bulk_create([row], ignore_conflicts=True)
            path.unlink()
        except FileNotFoundError:
            continue  # another process was faster
        except OSError:
            logger.exception("Journal file %s cannot be read; it stays", path)
            continue
        except _NO_EVENT:
            logger.exception("Journal file %s is not an event; it is set aside", path)
            _set_aside(path)
            continue
        except django.db.Error:
            logger.warning("The database still takes no audit events; %d wait in the journal", len(pending()))
            break
        taken += 1
    return taken


# What is raised by a file that no database would ever take.
_NO_EVENT = (ValueError, TypeError, KeyError, OverflowError, ValidationError, django.db.DataError)


def _set_aside(path: Path) -> None:
    try:
        path.rename(path.with_suffix(".bad"))
    except FileNotFoundError:
        logger.info("Another process set it aside")


def _read(path: Path) -> Event:
    values = json.loads(path.read_text())
    values["event_id"] = uuid.UUID(values["event_id"])
    values["org_id"] = uuid.UUID(values["org_id"])
    values["action"] = Action(values["action"])
    return Event(**values)


def _folder() -> Path:
    folder: Path = settings.CAS_DATA_DIR / "journal"
    return folder


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
