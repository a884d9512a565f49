"""What workers write down for whoever watches them: the web server asks neither NATS nor a worker."""

from django.db import models


class LastPublished(models.Model):
    """The last batch that was published: one row."""

    sequence = models.BigIntegerField(help_text="The greatest of the batch, as the stream counts.")
    published_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"stream sequence {self.sequence}"


class WorkerBeat(models.Model):
    """A worker, and when it last did something. Workers without a task to do get one now and then."""

    name = models.CharField(max_length=200, unique=True, help_text="As Celery names it: celery@host.")
    seen_at = models.DateTimeField()
    waiting_files = models.PositiveIntegerField(help_text="Events' files outside of the database, on its host.")

    def __str__(self) -> str:
        return self.name


class StreamReport(models.Model):
    """The stream as NATS described it to a worker: one row."""

    class Problem(models.TextChoices):
        NONE = "", "none"
        UNREACHABLE = "unreachable", "NATS is not reachable"
        MISSING = "missing", "there is no such stream"
        FORBIDDEN = "forbidden", "asking for the stream is not permitted"
        REFUSED = "refused", "NATS gives no description"

    reported_at = models.DateTimeField(help_text="When NATS was last asked.")
    reported_by = models.CharField(max_length=200, help_text="The worker that asked.")
    problem = models.CharField(max_length=20, choices=Problem, blank=True)
    detail = models.TextField(blank=True, help_text="The problem as NATS tells it.")
    described_at = models.DateTimeField(null=True, blank=True, help_text="When it last answered with a description.")
    description = models.JSONField(null=True, blank=True, help_text="What it answered then: audit/stream_state.py.")

    def __str__(self) -> str:
        return f"stream report of {self.reported_at:%Y-%m-%d %H:%M:%S}"
