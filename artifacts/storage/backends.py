"""The kinds of location, and the Django storage class that stands behind each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.core.files.storage import FileSystemStorage
from django.utils.module_loading import import_string

from artifacts.storage.base import Store
from artifacts.storage.filesystem import FileSystemStore
from artifacts.storage.generic import GenericStore

_SPOOL_BYTES = 8 * 1024**2  # what django-storages may hold of an object in memory before it uses a file


@dataclass(frozen=True)
class Backend:
    """A storage class by its dotted path, options it gets unless overruled, and those it must be given."""

    storage_class: str
    defaults: Mapping[str, object] = field(default_factory=dict)
    required: tuple[str, ...] = ()

    def make_store(self, options: Mapping[str, Any]) -> Store:
        """A store over a new storage instance; raises whatever the storage class raises."""
        storage = import_string(self.storage_class)(**{**self.defaults, **options})
        return FileSystemStore(storage) if isinstance(storage, FileSystemStorage) else GenericStore(storage)


_BUILT_IN = {
    "FILESYSTEM": Backend("django.core.files.storage.FileSystemStorage", required=("location",)),
    # The key is the digest, so overwriting writes the same bytes; a renamed copy would be lost.
    "AWS-S3": Backend(
        "storages.backends.s3.S3Storage",
        {"file_overwrite": True, "max_memory_size": _SPOOL_BYTES, "default_acl": None},
        required=("bucket_name",),
    ),
    "AzureBlob": Backend(
        "storages.backends.azure_storage.AzureStorage",
        {"overwrite_files": True, "max_memory_size": _SPOOL_BYTES},
        required=("azure_container",),
    ),
    "GCS": Backend(
        "storages.backends.gcloud.GoogleCloudStorage",
        {"file_overwrite": True, "max_memory_size": _SPOOL_BYTES},
        required=("bucket_name",),
    ),
}


def find_backend(name: str) -> Backend:
    """The backend of this name, built in or from CAS_STORAGE_BACKENDS; raises LookupError."""
    if name in settings.CAS_STORAGE_BACKENDS:
        return Backend(settings.CAS_STORAGE_BACKENDS[name])
    return _BUILT_IN[name]


def backend_names() -> list[str]:
    """All names a location's backend may have."""
    return sorted({*_BUILT_IN, *settings.CAS_STORAGE_BACKENDS})
