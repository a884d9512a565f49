"""What a person sees of a scrub: a bar on a terminal, lines elsewhere, and the report at its end."""

import signal
import time
from collections.abc import Iterable
from types import FrameType
from typing import Any, Self

from django.db.models import QuerySet, Sum
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bar

from artifacts import scrubbing
from artifacts.models import Artifact, Location, Scrub
from artifacts.rate_limit import RateLimit
from artifacts.scrub_findings import Finding, State
from artifacts.scrub_lease import LEASE_SECONDS, ScrubRunning
from artifacts.scrubbing import Stopped, Watcher
from common.sizes import format_size

_NEWS = {State.CORRUPT, State.MISSING, State.UNREADABLE}


class Report:
    """The outcome for one location; what is corrupt and missing is asked of the database, whoever found it."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self.scrub: Scrub | None = None
        self.unreadable: dict[str, str] = {}
        self.error = ""

    @property
    def is_damaged(self) -> bool:
        return self._artifacts().exclude(corrupt_at=None, missing_at=None).exists()

    def as_dict(self) -> dict[str, Any]:
        """For --json. Sizes are in bytes."""
        scrub = self.scrub
        return {
            "location": str(self.location),
            "finished": bool(scrub and scrub.finished_at),
            "started_at": scrub.started_at.isoformat() if scrub else None,
            "checked": scrub.checked if scrub else 0,
            "checked_bytes": scrub.checked_bytes if scrub else 0,
            "unlabelled": scrub.unlabelled if scrub else 0,
            "corrupt": self._digests(corrupt_at__isnull=False),
            "missing": self._digests(missing_at__isnull=False),
            "unreadable": self.unreadable,
            "error": self.error or None,
        }

    def as_text(self) -> str:
        """Counts, and a line for each artifact that is not sound."""
        values = self.as_dict()
        state = "finished" if values["finished"] else "not finished"
        size = format_size(values["checked_bytes"])
        counts = ", ".join(f"{len(values[kind])} {kind}" for kind in ("corrupt", "missing", "unreadable"))
        counts += f", {values['unlabelled']} unlabelled"
        lines = [f"{self.location}: {state}, {values['checked']} read ({size}), {counts}"]
        lines += [f"  {kind} {digest}" for kind in ("corrupt", "missing") for digest in values[kind]]
        lines += [f"  unreadable {digest} {reason}" for digest, reason in self.unreadable.items()]
        return "\n".join([*lines, *([f"  {self.error}"] if self.error else [])])

    def _artifacts(self) -> QuerySet[Artifact]:
        return Artifact.objects.filter(location=self.location)

    def _digests(self, **condition: bool) -> list[str]:
        found: Iterable[str] = self._artifacts().filter(**condition).order_by("digest").values_list("digest", flat=True)
        return [f"sha256:{digest}" for digest in found]


class Progress:
    """The bar of all locations; for as long as it is shown, the first Ctrl-C or SIGTERM ends the scrub cleanly."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        columns = [TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True)]
        self.bar = Bar(
            *columns,
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self.is_stopping = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._stop)
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
        self._restore()

    def say(self, text: str) -> None:
        """A line that stays, above the bar if there is one."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def scrub(self, report: Report, limit: RateLimit, *, restart: bool) -> None:
        """Scrub the report's location as soon as nobody else does; a process that was killed does for LEASE_SECONDS.

        Raises what `scrubbing.scrub` raises.
        """
        deadline = time.monotonic() + LEASE_SECONDS + 2
        while True:
            try:
                scrubbing.scrub(report.location, limit=limit, watcher=_Watcher(self, report), restart=restart)
            except ScrubRunning:
                if time.monotonic() > deadline:
                    raise
                self.check()
                time.sleep(0.5)
            else:
                return

    def check(self) -> None:
        """Raise Stopped when somebody asked for that."""
        if self.is_stopping:
            raise Stopped

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.is_stopping = True
        self._restore()  # whoever asks twice does not want to wait
        self.say("Stopping; the next run goes on from here.")

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)


class _Watcher(Watcher):
    def __init__(self, progress: Progress, report: Report) -> None:
        self._progress = progress
        self._report = report

    def begun(self, scrub: Scrub) -> None:
        self._report.scrub = scrub
        labelled = Artifact.objects.filter(location=scrub.location, missing_at=None)
        total = labelled.aggregate(total=Sum("size_bytes"))["total"]
        self._task = self._progress.bar.add_task(str(scrub.location), total=total or 0, completed=scrub.checked_bytes)
        if scrub.after:
            self._progress.say(f"{scrub.location}: going on with the pass of {scrub.started_at:%Y-%m-%d %H:%M} UTC")

    def read(self, count: int) -> None:
        self._progress.bar.advance(self._task, count)
        self._progress.check()

    def done(self, finding: Finding) -> None:
        if finding.state == State.UNREADABLE:
            self._report.unreadable[str(finding.digest)] = finding.detail
        if finding.state in _NEWS:
            self._progress.say(f"{self._report.location}: {finding.state} {finding.digest} {finding.detail}".rstrip())
