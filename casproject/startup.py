"""What a web server or worker does before it serves: refuse to start when configured wrongly."""

import logging
import sys

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

logger = logging.getLogger(__name__)


def load_settings() -> None:
    """Read the settings; exit with a line for each variable that cannot be read."""
    try:
        settings.DEBUG  # noqa: B018  (the first to be asked for loads them all)
    except ImproperlyConfigured as error:
        sys.exit(f"Refusing to start:\n{error}")


def refuse_wrong_settings() -> None:
    """Run Django's system checks; exit with their messages if any is an error, and log what is only a warning.

    `manage.py` does this itself; WSGI servers and Celery do not.
    """
    found = [message for message in checks.run_checks() if not message.is_silenced()]
    errors = [message for message in found if message.is_serious()]
    if errors:
        sys.exit("Refusing to start:\n" + "\n".join(str(error) for error in errors))
    for message in found:
        logger.warning("%s", message)
