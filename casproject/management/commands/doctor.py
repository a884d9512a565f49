"""Prints what is configured, and tries each part of it."""

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import django.db
from django.core.management.base import BaseCommand

from casproject.doctor import broker, configuration, database, files, keys, locations, nats
from casproject.doctor.findings import Finding, Level, Trial, attempt, fail

FAILED = 1
SECONDS = 10.0

FIRST = [
    Trial(configuration.PART, configuration.examine, "docs/configuration.md"),
    Trial(files.FOLDER, files.examine_folder, files.REMEDY),
    Trial(keys.TOKENS, keys.examine_token_keys, keys.REMEDY),
    Trial(keys.CHECKPOINTS, keys.examine_checkpoint_key, keys.REMEDY),
    Trial(broker.BROKER, broker.examine_broker, broker.BROKER_REMEDY),
    Trial(nats.NATS, nats.examine, nats.REMEDY),
    Trial(database.PART, database.examine, database.REMEDY),
]
# These ask the database, and are left out when it does not answer or is not migrated.
THEN = [
    Trial(keys.CREDENTIALS, keys.examine_credential_keys, keys.REMEDY),
    Trial(files.JOURNAL, files.examine_journal, files.REMEDY),
    Trial(broker.WORKER, broker.examine_workers, broker.WORKER_REMEDY),
    Trial(broker.EVENTS, broker.examine_events, broker.WORKER_REMEDY),
]


class Command(BaseCommand):
    help = (
        "Print what is configured, secrets masked, and try each part: database, locations, broker, workers, NATS, the "
        "stream, keys, disk. A line each, with a remedy. Exit status 1 when one fails."
    )
    requires_system_checks = []  # it runs them itself, and goes on

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help='print {"settings": {…}, "findings": […]}')
        parser.add_argument(
            "--timeout", type=float, default=SECONDS, help="seconds for each part (default: %(default)g)"
        )

    def handle(self, *, timeout: float, **options: Any) -> None:
        """Try everything; the exit status says whether something failed."""
        if not options["json"]:
            self._show_settings()
        found: list[Finding] = []
        for finding in _examine(timeout):
            found.append(finding)
            if not options["json"]:
                self._show(finding)
        if options["json"]:
            report = {"settings": configuration.configured(), "findings": [asdict(finding) for finding in found]}
            self.stdout.write(json.dumps(report, indent=2, ensure_ascii=False))
        if any(finding.level is Level.FAIL for finding in found):
            raise SystemExit(FAILED)

    def _show_settings(self) -> None:
        for name, text in configuration.configured().items():
            self.stdout.write(f"{name}={text}")
        self.stdout.write("")

    def _show(self, finding: Finding) -> None:
        style = {Level.OK: self.style.SUCCESS, Level.WARN: self.style.WARNING, Level.FAIL: self.style.ERROR}
        remedy = f". {finding.remedy}" if finding.remedy else ""
        self.stdout.write(f"{style[finding.level](f'{finding.level:<4}')}  {finding.part}: {finding.text}{remedy}")
        self.stdout.flush()


def _examine(seconds: float) -> Iterator[Finding]:
    for trial in FIRST:
        found = attempt(trial, seconds)
        yield from found
    if any(finding.level is Level.FAIL for finding in found):  # the last is the database
        yield fail("locations, workers, events", "not tried, for the database has them", database.REMEDY)
        return
    for trial in THEN:
        yield from attempt(trial, seconds)
    try:
        of_locations = locations.trials()
    except django.db.Error as error:
        yield fail(locations.PART, str(error), database.REMEDY)
        return
    for trial in of_locations:
        yield from attempt(trial, seconds)
