"""A file that a Celery process touches while it gets on: it answers no requests by which a probe could tell."""

import logging
import time

from django.conf import settings

logger = logging.getLogger(__name__)

NAME = "alive"  # in CAS_DATA_DIR
EVERY = 10.0  # seconds, at least, between two touches

_touched = -EVERY


def touch() -> None:
    """Touch it, now and then; a disk that does not take it is no news here."""
    global _touched  # noqa: PLW0603  (of this process)
    if time.monotonic() - _touched < EVERY:
        return
    _touched = time.monotonic()
    try:
        (settings.CAS_DATA_DIR / NAME).touch()
    except OSError as error:
        logger.debug("Not touched: %r", error)
