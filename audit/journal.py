"""Where events wait that the database could not take: one file each, as in a Maildir, under CAS_DATA_DIR/journal."""

import json
import logging
import os
import uuid
from dataclasses import asdict
from pathlib import Path

import django.db
from django.conf import settings

from audit.events import Action, Event
from audit.models import AuditEvent, State

logger = logging.getLogger(__name__)

_PARTIAL = ".partial"


def append(event: Event) -> None:
    """Write the event durably. If even that fails, the log has all of it; nothing is raised."""
    line = json.dumps(asdict(event), default=str)
    try:
        folder = _folder()
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            _fsync_folder(folder.parent)
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
            _take_in_file(path)
        except FileNotFoundError:
            continue  # another process was faster
        except OSError:
            logger.exception("Journal file %s cannot be read or removed; it stays", path)
            continue
        except (NoEventError, django.db.DataError):
            logger.exception("Journal file %s is no event that could be kept; it is set aside", path)
            _set_aside(path)
            continue
        except django.db.Error:
            logger.warning("The database still takes no audit events; %d wait in the journal", len(pending()))
            break
        taken += 1
    return taken


class NoEventError(Exception):
    """A journal file holds something else."""


def _take_in_file(path: Path) -> None:
    content = path.read_bytes()
    try:
        row = _row_of(content)
    except Exception as error:  # whatever it holds, it must not hold up those that are events
        raise NoEventError from error
    AuditEvent.objects.bulk_create([row], ignore_conflicts=True)
    path.unlink()


def _row_of(content: bytes) -> AuditEvent:
    values = json.loads(content)
    values["event_id"] = uuid.UUID(values["event_id"])
    values["org_id"] = uuid.UUID(values["org_id"])
    values["action"] = Action(values["action"])
    row = AuditEvent.of(Event(**values), State.of_new_events())
    row.clean_fields()  # what no database would ever take
    return row


def _set_aside(path: Path) -> None:
    try:
        path.rename(path.with_suffix(".bad"))
    except OSError as error:
        logger.warning("Journal file %s could not be set aside: %s", path, error)


def _folder() -> Path:
    folder: Path = settings.CAS_DATA_DIR / "journal"
    return folder


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
