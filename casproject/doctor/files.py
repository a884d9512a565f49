"""What this machine keeps of its own: the data folder, and in it what the database has not taken yet."""

import tempfile
from collections.abc import Iterator

from django.conf import settings

from artifacts import late_labels
from audit import journal, write_ahead
from casproject.doctor.findings import Finding, ok, warn
from casproject.doctor.locations import free_space

FOLDER, JOURNAL = "data folder", "journal"
REMEDY = "Give CAS_DATA_DIR to the user that the processes run as, on a local file system that has room."


def examine_folder() -> Iterator[Finding]:
    """Raises OSError."""
    for name in ("journal", "write-ahead", "labels"):
        folder = settings.CAS_DATA_DIR / name
        folder.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".doctor") as file:
            file.write(b"\0")
            file.flush()
    yield ok(FOLDER, f"{settings.CAS_DATA_DIR} can be written to")
    yield free_space(FOLDER, str(settings.CAS_DATA_DIR))


def examine_journal() -> Iterator[Finding]:
    """Raises OSError."""
    waiting, left, labels = len(journal.pending()), len(write_ahead.left_behind()), len(late_labels.pending())
    if waiting or left or labels:
        text = f"{waiting} events, {left} logs of events and {labels} labels of uploads wait to be taken in"
        yield warn(
            JOURNAL,
            text,
            "They are once the database answers: events by a web server or worker here, labels by a web server.",
        )
    else:
        yield ok(JOURNAL, "nothing waits outside of the database")
