"""The Celery application: `celery -A casproject worker`, `celery -A casproject beat`."""

import os
from pathlib import Path

from celery import Celery, signals
from django.conf import settings

from casproject import embedded_broker, startup  # noqa: F401  (registers embedded://)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "casproject.settings")

app = Celery("casproject")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

# The embedded broker does not make its own folder.
if "data_folder_in" in settings.CELERY_BROKER_TRANSPORT_OPTIONS:
    Path(settings.CELERY_BROKER_TRANSPORT_OPTIONS["data_folder_in"]).mkdir(parents=True, exist_ok=True)


@signals.celeryd_init.connect
@signals.beat_init.connect
def refuse_wrong_settings(**kwargs: object) -> None:
    """Stop a worker or beat that is configured wrongly; Celery itself only warns."""
    startup.refuse_wrong_settings()


@signals.setup_logging.connect
def use_django_logging(**kwargs: object) -> None:
    """Keep Celery from replacing the logging set up by Django."""
