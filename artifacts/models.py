"""Where artifacts are kept, and what is known of each."""

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from artifacts import credentials
from artifacts.storage.backends import backend_names, find_backend


def _validate_object(value: object) -> None:
    if not isinstance(value, dict):
        raise ValidationError("This must be a JSON object.")


def _validate_backend(value: str) -> None:
    if value not in backend_names():
        raise ValidationError(f"Unknown backend. Known are: {', '.join(backend_names())}.")


class Location(models.Model):
    """One configured place where artifacts are kept; a token names it by `backend` and `secret-id`."""

    name = models.CharField(max_length=200, help_text="The “secret-id” of the tokens that use it.")
    backend = models.CharField(
        max_length=50, validators=[_validate_backend], help_text="The “backend” of the tokens that use it."
    )
    options = models.JSONField(
        default=dict,
        blank=True,
        validators=[_validate_object],
        help_text='Options of the storage class, such as {"location": "/srv/artifacts"} or {"bucket_name": "…"}.',
    )
    encrypted_credentials = models.TextField(blank=True, editable=False)
    organization = models.UUIDField(
        null=True, blank=True, help_text="When set, only this organization's tokens may use the location."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["backend", "name"], name="one_location_per_name")]

    def __str__(self) -> str:
        return f"{self.backend}/{self.name}"

    @property
    def credentials(self) -> dict[str, Any]:
        """Options that are kept encrypted; raises CredentialsUnreadable when no key fits."""
        return credentials.decrypt(self.encrypted_credentials) if self.encrypted_credentials else {}

    @credentials.setter
    def credentials(self, value: dict[str, Any]) -> None:
        self.encrypted_credentials = credentials.encrypt(value) if value else ""

    def clean(self) -> None:
        """Name the options that the backend cannot do without."""
        try:
            backend = find_backend(self.backend)
        except LookupError:
            return  # its own validator says so
        _validate_object(self.options)  # validators of fields come earlier, and do not stop this method
        missing = [option for option in backend.required if not self.options.get(option)]
        if missing:
            raise ValidationError({"options": f"{self.backend} needs: {', '.join(missing)}."})


class Artifact(models.Model):
    """What is known of an artifact in a location. The storage decides whether it exists; this is its label."""

    location = models.ForeignKey(Location, on_delete=models.PROTECT, related_name="artifacts")
    digest = models.CharField(max_length=64)
    size_bytes = models.BigIntegerField()
    file_name = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    corrupt_at = models.DateTimeField(
        null=True, blank=True, help_text="When its bytes were found not to match; the next upload replaces them."
    )

    class Meta:
        # The digest first, so that the index also serves a search by its beginning.
        constraints = [models.UniqueConstraint(fields=["digest", "location"], name="one_artifact_per_digest")]

    def __str__(self) -> str:
        return f"sha256:{self.digest}"
