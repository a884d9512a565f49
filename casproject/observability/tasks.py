"""A task works for the request that woke it: its log lines say so."""

import logging
from typing import Any

from celery import signals

from common.origin import ORIGIN, REQUEST_ID, TRACEPARENT

logger = logging.getLogger(__name__)


@signals.task_prerun.connect
def begin(task: Any, **_: Any) -> None:
    """Take over what the message tells of its origin."""
    headers = {name: task.request.get(name) for name in (REQUEST_ID, TRACEPARENT)}
    ORIGIN.set({name: value for name, value in headers.items() if isinstance(value, str)})
    logger.debug("Task %s begins", task.name)


@signals.task_postrun.connect
def end(**_: Any) -> None:
    """Work for nobody."""
    ORIGIN.set({})
