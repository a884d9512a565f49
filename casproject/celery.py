"""The Celery application: `celery -A casproject worker`, `celery -A casproject beat`."""

import os

from celery import Celery, signals

from casproject import embedded_broker, startup  # noqa: F401  (registers embedded://)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "casproject.settings")

app = Celery("casproject")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@signals.celeryd_init.connect
@signals.beat_init.connect
def refuse_wrong_settings(**kwargs: object) -> None:
    """Stop a worker or beat that is configured wrongly; Celery itself only warns."""
    startup.refuse_wrong_settings()


@signals.setup_logging.connect
def use_django_logging(**kwargs: object) -> None:
    """Keep Celery from replacing the logging set up by Django."""
