"""Compares trail, stream and storage, and names what each lacks."""

import json
from argparse import ArgumentParser
from collections import Counter
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import django.db
from django.conf import settings
from django.core.management.base import CommandError

from artifacts import reconciling as storage
from artifacts.exceptions import StorageError
from artifacts.location_faults import explain
from artifacts.models import Location
from audit import reconciling as trail
from audit.consumer import StreamError
from audit.management.arguments import add_time_arguments
from audit.management.stopping import Stopping
from audit.models import State
from audit.names import STREAM, stream_name
from audit.reconciling import Stopped, StreamCopy
from common.status_command import INTERRUPTED, NOT_DONE, StatusCommand

DIFFER = 1


class Command(StatusCommand):
    help = (
        "Compare the trail with the stream, and with what is stored, and name what is missing on each side. "
        "Exit status: 0 all agree, 1 something differs, 2 it could not be done in full, 130 interrupted."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_time_arguments(parser)
        parser.add_argument("--stream", type=stream_name, default=STREAM, help="(default: %(default)s)")
        parser.add_argument(
            "--json", action="store_true", help="print JSON, a line for each difference, then a summary"
        )
        parser.add_argument(
            "--repair", action="store_true", help="publish again what the stream lacks, take in what the trail lacks"
        )

    def handle(self, *, start: datetime | None, end: datetime | None, stream: str, **options: Any) -> None:
        """Do it; the exit status says how it came out."""
        self._counts: Counter[str] = Counter()
        self._failures: list[str] = []
        self._is_json = options["json"]
        try:
            with Stopping() as self._stopping:
                if settings.NATS_URL:
                    self._compare_stream(stream, start, end, is_repairing=options["repair"])
                else:
                    self._say("NATS_URL is not set: the trail is not compared with a stream.")
                self._compare_storage(start, end)
                states = trail.count_by_state(start, end)
        except Stopped as error:
            raise CommandError("Stopped.", returncode=INTERRUPTED) from error
        except django.db.Error as error:
            raise CommandError(f"The database failed: {error}", returncode=NOT_DONE) from error
        self._summarize(states)

    def _compare_stream(self, stream: str, start: datetime | None, end: datetime | None, *, is_repairing: bool) -> None:
        with TemporaryDirectory(prefix="reconcile-") as folder:
            try:
                with StreamCopy(Path(folder) / "stream.sqlite3", stream, self._stopping) as copy:
                    copy.read()
                    for event in copy.lacking_in_stream(start, end):
                        self._tell("not_in_stream", event_id=str(event.event_id), sequence=event.stream_sequence)
                        if is_repairing:
                            trail.publish_again(event)
                    for sequence, event_id in copy.lacking_in_trail(start, end):
                        self._tell("not_in_trail", event_id=str(event_id), sequence=sequence)
                    if is_repairing:
                        self._counts["taken_in"] = copy.take_in_lacking()
                        self._counts["to_be_published_again"] = self._counts["not_in_stream"]
            except StreamError as error:
                self._failures.append(str(error))

    def _compare_storage(self, start: datetime | None, end: datetime | None) -> None:
        locations = {(location.backend, location.name): location for location in Location.objects.order_by("pk")}
        for backend, name in sorted(locations.keys() | set(trail.upload_locations())):
            uploaded = trail.uploaded_digests(backend, name, start, end)
            where = f"{backend}/{name}"
            if (location := locations.get((backend, name))) is None:
                for digest in uploaded:
                    self._tell("upload_without_object", digest=f"sha256:{digest}", location=where)
                continue
            try:
                for difference in storage.differences(location, uploaded, check=self._check):
                    self._tell(difference.kind, digest=str(difference.digest), location=where)
            except StorageError as error:
                self._failures.append(f"{where}: {explain(error, location)}")

    def _check(self) -> None:
        if self._stopping():
            raise Stopped

    def _tell(self, kind: str, **values: Any) -> None:
        self._check()
        self._counts[kind] += 1
        if self._is_json:
            self.stdout.write(json.dumps({"difference": kind, **values}))
        else:
            self.stdout.write(" ".join([kind, *(str(value) for value in values.values())]))

    def _say(self, text: str) -> None:
        self.stderr.write(text)

    def _summarize(self, states: dict[str, int]) -> None:
        unpublished = states[State.PENDING] + states[State.FAILED]
        found = {kind: self._counts[kind] for kind in _KINDS}
        done = {kind: count for kind, count in self._counts.items() if kind not in found}
        agrees = not self._failures and not unpublished and not any(found.values())
        if self._is_json:
            summary = {**found, **done, "states": states, "errors": self._failures, "agrees": agrees}
            self.stdout.write(json.dumps({"summary": summary}))
        else:
            counts = {**found, **done, "pending": states[State.PENDING], "failed": states[State.FAILED]}
            self.stdout.write(", ".join(f"{count} {kind}" for kind, count in counts.items()))
        if self._failures:
            raise CommandError("Not done in full: " + " ".join(self._failures), returncode=NOT_DONE)
        if not agrees:
            raise CommandError("Something differs.", returncode=DIFFER)


_KINDS = ("not_in_stream", "not_in_trail", *storage.Kind)
