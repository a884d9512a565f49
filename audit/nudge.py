"""Wakes the publisher from a thread of its own, so that nothing of the broker can reach a request.

Nudges coalesce: however many events a burst has, the broker sees a few messages a second. A nudge that is
lost costs nothing but time, for the sweep finds what it would have told of.
"""

import logging
import os
import threading
import time
from typing import Any

from celery import current_app
from django.conf import settings
from django.db import connections

from audit import intake
from common.origin import ORIGIN

logger = logging.getLogger(__name__)

INTERVAL = 0.2  # seconds between two nudges; the first of a burst goes at once
PAUSE = 1.0  # seconds to leave a broker alone that failed
EXPIRES = 30  # seconds after which a nudge nobody took is worthless: the sweep has long been there


class Nudger:
    """One daemon thread, started by the first `wake` and again after a fork."""

    def __init__(self) -> None:
        self._reset()
        # A lock that some thread held at the fork would stay locked in the child for ever.
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._pid: int | None = None
        self._is_failing = False
        self._origin: dict[str, str] = {}

    def wake(self) -> None:
        """Ask for a nudge, which tells the origin of the first to ask; returns at once, and raises nothing."""
        if not self._wanted.is_set():
            self._origin = ORIGIN.get()
            self._wanted.set()
        if self._pid != os.getpid():
            try:
                self._start()
            except RuntimeError as error:  # the system gives no more threads
                logger.warning("No nudge could be sent; the sweep will find the events: %r", error)

    def _start(self) -> None:
        with self._lock:
            if self._pid != os.getpid():
                threading.Thread(target=self._run, name="audit-nudge", daemon=True).start()
                self._pid = os.getpid()

    def _run(self) -> None:
        while True:
            try:
                if not self._wanted.is_set():
                    connections.close_all()  # the wait may be long
                self._wanted.wait(intake.REST if intake.has_waiting() else None)
                ORIGIN.set(self._origin)  # before the flag goes: who asks after that is told of by the next message
                self._wanted.clear()
                self._work()
            except Exception as error:  # noqa: BLE001  (the thread must outlive whatever a broker's client raises)
                if not self._is_failing:
                    logger.warning("No nudge could be sent; the sweep will find the events: %r", error)
                self._is_failing = True
                time.sleep(PAUSE)
            else:
                self._is_failing = False
                time.sleep(INTERVAL)

    def _work(self) -> None:
        intake.take_in_rested()
        if settings.NATS_URL:
            send()


def send() -> None:
    """Send one Celery message, which tells where it comes from; raises what the broker's client raises."""
    headers: dict[str, Any] = {"headers": origin} if (origin := ORIGIN.get()) else {}
    current_app.send_task("audit.tasks.publish_pending", expires=EXPIRES, **headers)


_nudger = Nudger()
wake = _nudger.wake
