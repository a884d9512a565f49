"""Where events wait that neither the database nor the write-ahead log could take, and acts of people.

One synced file each, as in a Maildir, under CAS_DATA_DIR/journal.
"""

import json
import logging
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import django.db
from django.conf import settings

from audit.act_events import ActEvent
from audit.event_rows import row_of
from audit.events import Action, Event
from audit.models import AuditEvent, State
from common.folders import write_whole
from common.waiting_files import take_in_each

logger = logging.getLogger(__name__)

HELD = 10_000  # events kept in memory that neither the database nor a file took; past these, only the log has them

# dataclasses.asdict would copy each value.
_FIELDS: dict[type, Sequence[str]] = {Event: Event._fields, ActEvent: [field.name for field in fields(ActEvent)]}
_held: deque[Event | ActEvent] = deque()


def append(event: Event | ActEvent) -> None:
    """Write the event durably. If even that fails, the log has all of it and memory keeps it; nothing is raised.

    What memory keeps goes into the trail, or to a file, as soon as either takes it, if the process lives until then.
    """
    try:
        write(event)
    except OSError as error:
        logger.critical("The journal did not take this audit event (%s): %s", error, json_of(event))
        if len(_held) < HELD:
            _held.append(event)


def write(event: Event | ActEvent) -> None:
    """Write the event durably; raises OSError."""
    write_whole(_folder() / f"{event.timestamp_ns}-{event.event_id}.json", json_of(event), is_synced=True)


def has_waiting() -> bool:
    """Whether there is something to take in."""
    return bool(_held) or any(_folder().glob("*.json"))


def pending() -> list[Path]:
    """The files that wait, oldest first."""
    return sorted(_folder().glob("*.json"))


def take_in() -> int:
    """Move waiting events into the trail, each once, and return how many; stop when the database still refuses.

    Several processes may do this at once: the row's unique event id decides, and a file goes only after its row.
    """
    return _take_in_held() + take_in_each(pending(), _take_in_file, NoEventError)


def _take_in_held() -> int:
    taken = 0
    while _held:
        event = _held.popleft()
        try:
            _insert(event)
            taken += 1
        except django.db.DataError:
            logger.exception("Audit event %s, which only the log has, could never be kept", event.event_id)
        except django.db.Error:
            try:
                write(event)
            except OSError:
                _held.appendleft(event)
                break
    return taken


class NoEventError(Exception):
    """A journal file holds something else."""


def _take_in_file(path: Path) -> None:
    _insert(_read(path.read_bytes()))
    path.unlink()


def _insert(event: Event | ActEvent) -> None:
    state = State.of_new_events()
    row = row_of(event, state) if isinstance(event, Event) else AuditEvent.column_values(event, state)
    AuditEvent.insert([row])


def json_of(event: Event | ActEvent) -> str:
    """An event as one line of JSON, which `event_of` reads."""
    return _encode({name: getattr(event, name) for name in _FIELDS[type(event)]})


_encode = json.JSONEncoder(default=str).encode


def event_of(content: bytes) -> Event:
    """Read a transfer's event that was written as JSON; raises NoEventError, also for what no database would take."""
    event = _read(content)
    if not isinstance(event, Event):
        raise NoEventError
    return event


def _read(content: bytes) -> Event | ActEvent:
    """The same for a transfer's event or an act's."""
    try:
        values = json.loads(content)
        values["event_id"] = uuid.UUID(values["event_id"])
        is_act = "text" in values
        if not is_act or values["org_id"] is not None:
            values["org_id"] = uuid.UUID(values["org_id"])
        if not is_act:
            values["action"] = Action(values["action"])
        event = ActEvent(**values) if is_act else Event(**values)
        AuditEvent.of(event, State.LOCAL).clean_fields()
    except Exception as error:  # whatever it holds, it must not hold up those that are events
        raise NoEventError from error
    return event


def _folder() -> Path:
    folder: Path = settings.CAS_DATA_DIR / "journal"
    return folder
