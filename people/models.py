"""What is kept of people beside Django's own users and groups."""

from django.db import models


class SignInFailures(models.Model):
    """Failed sign-ins that somebody or some address has to its account: people/throttle.py."""

    key = models.CharField(max_length=64, unique=True, help_text="SHA-256 of what is counted.")
    failures = models.PositiveIntegerField()
    last_at = models.DateTimeField()
    locked_until = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "sign-in failures"
        indexes = [models.Index(fields=["last_at"], name="people_failures_age")]

    def __str__(self) -> str:
        return f"{self.failures} failed sign-ins"
