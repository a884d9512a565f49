"""The Celery application: `celery -A casproject worker`, `celery -A casproject beat`."""

import os

from celery import Celery, signals
from kombu.transport import TRANSPORT_ALIASES

from casproject import embedded_broker, startup  # noqa: F401  (registers embedded://)
from common import alive

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "casproject.settings")

# By name, so that who uses no Redis does not load its client.
TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), "casproject.redis_broker:Transport"))

app = Celery("casproject")
app.on_configure.connect(lambda **_: startup.load_settings(), weak=False)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.autodiscover_tasks(related_name="upkeep_tasks")


@signals.celeryd_init.connect
@signals.beat_init.connect
def refuse_wrong_settings(**kwargs: object) -> None:
    """Stop a worker or beat that is configured wrongly; Celery itself only warns."""
    startup.refuse_wrong_settings()


@signals.worker_init.connect
def share_metrics(**kwargs: object) -> None:
    """Have what a worker counts shown by the web servers, and at a port of its own where it has one."""
    from casproject.observability import process, worker_port  # noqa: PLC0415  (needs the apps loaded)

    process.begin_worker()
    worker_port.begin()


@signals.worker_init.connect
@signals.task_postrun.connect
def show_that_a_worker_is_alive(**kwargs: object) -> None:
    """For a probe: the metrics' port answers from a thread of its own, whatever became of the worker."""
    alive.touch()


@signals.beat_init.connect
def show_that_beat_is_alive(**kwargs: object) -> None:
    """The same of beat: with each task that the broker takes."""
    alive.touch()
    signals.after_task_publish.connect(show_that_a_worker_is_alive)


@signals.setup_logging.connect
def use_django_logging(**kwargs: object) -> None:
    """Keep Celery from replacing the logging set up by Django."""
