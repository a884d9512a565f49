"""Where artifacts are kept, and what is known of each."""

import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import models
from django.db.models.functions import Coalesce
from django.utils import timezone

from artifacts import credentials
from artifacts.credentials import CredentialsUnreadable
from artifacts.location_faults import mask
from artifacts.storage.backends import Backend, backend_names, find_backend
from artifacts.storage.hosts import HostNotAllowed, check_options


def _validate_object(value: object) -> None:
    if not isinstance(value, dict):
        raise ValidationError("This must be a JSON object.")


def _validate_backend(value: str) -> None:
    if value not in backend_names():
        raise ValidationError(f"Unknown backend. Known are: {', '.join(backend_names())}.")


def _validate_folder(path: str) -> None:
    if not Path(path).is_absolute():
        raise ValidationError({"options": "“location” must be an absolute path."})
    if not os.path.isdir(path):  # noqa: PTH112  (a Path raises for a folder that it may not look into)
        raise ValidationError({"options": f"The folder {path} does not exist, or cannot be looked into."})


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
    quota_bytes = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="How much may be stored in all, in bytes; empty: no limit."
    )
    used_bytes = models.PositiveBigIntegerField(
        default=0, editable=False, help_text="Bytes stored or being stored; kept only where there is a quota."
    )
    proof_of_possession = models.BooleanField(
        default=False,
        db_default=False,  # rows of the version before, while it still runs
        help_text="Whoever uploads must send the whole artifact before being told that it is there already.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["backend", "name"], name="one_location_per_name")]
        permissions = [("test_location", "Can test locations")]

    def __str__(self) -> str:
        return f"{self.backend}/{self.name}"

    def save(self, *, update_fields: Iterable[str] | None = None, **options: Any) -> None:
        """Never writes `used_bytes`, which uploads change meanwhile; a quota that is new is counted for."""
        is_adding = self._state.adding
        if update_fields is None and not is_adding:
            update_fields = [field.name for field in self._meta.concrete_fields if not field.primary_key]
            update_fields.remove("used_bytes")
        is_limited = not is_adding and Location.objects.filter(pk=self.pk, quota_bytes__isnull=False).exists()
        super().save(update_fields=update_fields, **options)
        if self.quota_bytes is not None and not is_limited and not is_adding:
            self.recount()

    @property
    def credentials(self) -> dict[str, Any]:
        """Options that are kept encrypted; raises CredentialsUnreadable when no key fits."""
        return credentials.decrypt(self.encrypted_credentials) if self.encrypted_credentials else {}

    @credentials.setter
    def credentials(self, value: dict[str, Any]) -> None:
        self.encrypted_credentials = credentials.encrypt(value) if value else ""

    def clean(self) -> None:
        """Name what of the settings is wrong, as far as that can be told without connecting to anything."""
        try:
            backend = find_backend(self.backend)
        except LookupError:
            return  # its own validator says so
        _validate_object(self.options)  # validators of fields come earlier, and do not stop this method
        missing = [option for option in backend.required if not self.options.get(option)]
        if missing:
            raise ValidationError({"options": f"{self.backend} needs: {', '.join(missing)}."})
        try:
            check_options(self.options, resolve=True)
        except HostNotAllowed as error:
            raise ValidationError({"options": f"{error} CAS_STORAGE_HOSTS says which are."}) from error
        if self._is_as_stored():
            return  # a folder or a library that is away now must not keep anybody from changing the rest
        if "location" in backend.required:
            _validate_folder(str(self.options["location"]))
        self._check_with(backend)

    def _is_as_stored(self) -> bool:
        fields = {name: getattr(self, name) for name in ("backend", "options", "encrypted_credentials")}
        return bool(self.pk) and Location.objects.filter(pk=self.pk).values(*fields).first() == fields

    def _check_with(self, backend: Backend) -> None:
        """Raise ValidationError when the backend's storage class does not take options and credentials."""
        try:
            secret = self.credentials
        except (CredentialsUnreadable, ImproperlyConfigured):
            return  # they are told of wherever they are used, and must not keep anybody from changing the rest
        try:
            backend.check({**self.options, **secret})
        except Exception as error:  # each storage class has its own way of refusing its options
            raise ValidationError({"options": mask(f"{self.backend} refuses this: {error}", secret)}) from error

    def recount(self) -> None:
        """Set what is used to the sum of what is labelled and not missing, in bytes."""
        stored = Artifact.objects.filter(location=models.OuterRef("pk"), missing_at=None).order_by()
        total = stored.values("location").annotate(total=models.Sum("size_bytes")).values("total")
        Location.objects.filter(pk=self.pk).update(
            used_bytes=Coalesce(models.Subquery(total, output_field=models.PositiveBigIntegerField()), 0)
        )
        self.refresh_from_db(fields=["used_bytes"])


class Artifact(models.Model):
    """What is known of an artifact in a location. The storage decides whether it exists; this is its label."""

    # Without an index of its own: artifact_location begins with it.
    location = models.ForeignKey(Location, on_delete=models.PROTECT, related_name="artifacts", db_index=False)
    digest = models.CharField(max_length=64)
    size_bytes = models.BigIntegerField()
    file_name = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    corrupt_at = models.DateTimeField(
        null=True, blank=True, help_text="When its bytes were found not to match; the next upload replaces them."
    )

    missing_at = models.DateTimeField(
        null=True, blank=True, help_text="When the storage was found not to have it; the next upload brings it back."
    )
    verified_at = models.DateTimeField(
        null=True, blank=True, help_text="When all of it was last read and found to match."
    )

    class Meta:
        # The digest first, so that the index also serves a search by its beginning.
        constraints = [models.UniqueConstraint(fields=["digest", "location"], name="one_artifact_per_digest")]
        # What the admin's list is filtered by, in its order. Artifacts that are sound cost the partial ones nothing.
        indexes = [
            models.Index(fields=["location", "id"], name="artifact_location"),
            models.Index(fields=["id"], condition=models.Q(corrupt_at__isnull=False), name="artifact_corrupt"),
            models.Index(fields=["id"], condition=models.Q(missing_at__isnull=False), name="artifact_missing"),
        ]
        permissions = [("download_artifact", "Can download artifacts by hand")]

    def __str__(self) -> str:
        return f"sha256:{self.digest}"


class BlockHashes(models.Model):
    """BLAKE3 hashes of an artifact's blocks (artifacts/block_hashes.py), BLOCKS_PER_ROW to a row."""

    BLOCKS_PER_ROW = 1024  # 1 GiB of artifact, 32 KiB of hashes: what a range reads of them

    artifact = models.ForeignKey(Artifact, on_delete=models.CASCADE, related_name="block_hashes")
    number = models.PositiveIntegerField(help_text="0 for the first BLOCKS_PER_ROW blocks.")
    hashes = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["artifact", "number"], name="one_row_per_number")]

    def __str__(self) -> str:
        return f"{self.artifact} blocks {self.number}"


class ResumableUpload(models.Model):
    """An upload that comes in pieces (tus). The storage knows how far it has come; this is whose it is."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    location = models.ForeignKey(Location, on_delete=models.PROTECT, related_name="resumable_uploads")
    org_id = models.TextField(blank=True, help_text="As the token has it.")
    length = models.PositiveBigIntegerField(help_text="Bytes there will be.")
    digest = models.CharField(max_length=64, blank=True, help_text="What the client says it will be, if it does.")
    file_name = models.CharField(max_length=255, blank=True)
    metadata = models.TextField(blank=True, help_text="Upload-Metadata, as it came.")
    result = models.CharField(max_length=64, blank=True, help_text="The artifact's digest, once all is done.")
    was_there = models.BooleanField(default=False, help_text="The artifact was there, and no byte was needed.")
    skipped = models.BooleanField(null=True, blank=True, help_text="Whether the artifact was there when all was done.")
    finishing_until = models.DateTimeField(
        null=True, blank=True, help_text="Somebody makes an artifact of it, and says so again before this time."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return str(self.id)


class Scrub(models.Model):
    """One pass over all that a location holds, in order of digest. Whoever works on it has a lease (scrub_lease.py)."""

    location = models.ForeignKey(Location, on_delete=models.CASCADE, related_name="scrubs")
    started_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    after = models.CharField(max_length=64, blank=True, help_text="The last digest that is done.")
    checked = models.PositiveBigIntegerField(default=0, help_text="Artifacts that were read.")
    checked_bytes = models.PositiveBigIntegerField(default=0)
    corrupt = models.PositiveIntegerField(default=0)
    missing = models.PositiveIntegerField(default=0)
    unlabelled = models.PositiveIntegerField(default=0, help_text="Artifacts that got a label.")
    unreadable = models.PositiveIntegerField(default=0, help_text="Artifacts that the storage failed to hand out.")
    unaccounted_bytes = models.BigIntegerField(
        default=0, editable=False, help_text="At the start: bytes in use by the quota, less those that are labelled."
    )
    lease = models.UUIDField(null=True, editable=False)
    leased_until = models.DateTimeField(null=True, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["location"], condition=models.Q(finished_at=None), name="one_unfinished_scrub_per_location"
            )
        ]

    def __str__(self) -> str:
        return f"{self.location} since {self.started_at:%Y-%m-%d %H:%M}"
