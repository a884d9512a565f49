"""What a web server or worker does before it serves: refuse to start when configured wrongly."""

import sys

from django.core import checks


def refuse_wrong_settings() -> None:
    """Run Django's system checks and exit with their messages if any is an error.

    `manage.py` does this itself; WSGI servers and Celery do not.
    """
    errors = [m for m in checks.run_checks() if m.is_serious() and not m.is_silenced()]
    if errors:
        sys.exit("Refusing to start:\n" + "\n".join(str(error) for error in errors))
