"""Takes what others published to the stream into the trail, by hand or from cron; CAS_MIRROR has the worker do it."""

import logging
import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from typing import Any

import django.db
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from audit import draining
from audit.consumer import Consumer, Received, StreamError
from audit.management.arguments import add_consumer_arguments
from audit.management.stopping import Stopping
from audit.mirror import Mirror
from audit.outages import DATABASE_ERRORS, Outage
from common.status_command import INTERRUPTED

PAUSE = 1.0  # seconds until a database that took nothing is tried again

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = (
        "Take all messages of the stream into the trail, once each, so that the admin shows all audit history. "
        "Events that are there already stay as they are; nothing that was taken in is published."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_consumer_arguments(parser, consumer=settings.CAS_MIRROR_CONSUMER)
        parser.add_argument(
            "--follow", action="store_true", help="go on until Ctrl-C, rather than to what is there now"
        )

    def handle(self, *, stream: str, consumer: str, follow: bool, **options: Any) -> None:
        """Do it; fail with what is wrong with NATS or the database. To follow is to wait until they are back."""
        mirror = Mirror(stream)
        try:
            with Stopping() as stopping, Consumer(stream, consumer) as source:
                if follow:
                    take_in = _patiently(mirror, stopping)
                    draining.follow(source, take_in, should_stop=stopping, say=self.stderr.write)
                    left = 0
                else:
                    left = draining.drain(source, mirror.take_in, should_stop=stopping)
        except StreamError as error:
            raise CommandError(str(error)) from error
        except django.db.Error as error:
            raise CommandError(f"The database does not take it: {error}") from error
        if stopping() and not follow:
            raise CommandError(f"Stopped: {mirror}. The next run goes on from here.", returncode=INTERRUPTED)
        self.stdout.write(f"{mirror}{f', {left} left to another reader' if left else ''}.")


def _patiently(mirror: Mirror, stopping: Callable[[], bool]) -> Callable[[Sequence[Received]], None]:
    outage = Outage(logger)

    def take_in(messages: Sequence[Received]) -> None:
        while True:
            try:
                mirror.take_in(messages)
            except DATABASE_ERRORS as error:
                if stopping():
                    raise
                outage.goes_on("The database takes nothing of the stream, which keeps it", error)
                connection.close()
                time.sleep(PAUSE)
            else:
                outage.is_over("The database takes what the stream has again")
                return

    return take_in
