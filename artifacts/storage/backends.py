"""The kinds of location, and the Django storage class that stands behind each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from artifacts.storage.base import Store
from artifacts.storage.object_service import Patience
from artifacts.storage.objects import ObjectStore

# By name, so that nobody pays for the libraries of vendors they do not use. A class's own entry comes before
# that of its bases.
_STORES = {
    "django.core.files.storage.filesystem.FileSystemStorage": "artifacts.storage.filesystem.FileSystemStore",
    "storages.backends.s3.S3Storage": "artifacts.storage.s3.S3Store",
    "storages.backends.azure_storage.AzureStorage": "artifacts.storage.azure.AzureStore",
    "storages.backends.gcloud.GoogleCloudStorage": "artifacts.storage.gcs.GoogleStore",
}
_GENERIC = "artifacts.storage.generic.GenericStore"

# Options of ours, next to those of django-storages.
_PATIENCE = {"connect_timeout": "connect", "read_timeout": "read", "max_retries": "retries"}


@dataclass(frozen=True)
class Backend:
    """A storage class by its dotted path, options it gets unless overruled, and those it must be given."""

    storage_class: str
    defaults: Mapping[str, object] = field(default_factory=dict)
    required: tuple[str, ...] = ()

    def make_store(self, options: Mapping[str, Any]) -> Store:
        """A store over a new storage instance; raises whatever the storage class raises."""
        store_class, storage = self._prepare(options)
        if not issubclass(store_class, ObjectStore):
            return cast(Store, store_class(storage))
        patience = Patience(**{ours: options[name] for name, ours in _PATIENCE.items() if name in options})
        return cast(Store, store_class(storage, patience))

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise whatever the storage class raises of options that it does not take; it connects to nothing."""
        self._prepare(options)

    def _prepare(self, options: Mapping[str, Any]) -> tuple[Any, Any]:
        """The class of the store, and the storage that it is over."""
        storage_class = import_string(self.storage_class)
        names = [f"{base.__module__}.{base.__qualname__}" for base in storage_class.__mro__]
        store_class = import_string(next((_STORES[name] for name in names if name in _STORES), _GENERIC))
        if not issubclass(store_class, ObjectStore) and (ours := _PATIENCE.keys() & options.keys()):
            raise ImproperlyConfigured(f"{self.storage_class} has no {', '.join(sorted(ours))}.")
        theirs = {name: value for name, value in {**self.defaults, **options}.items() if name not in _PATIENCE}
        return store_class, storage_class(**theirs)


_BUILT_IN = {
    "FILESYSTEM": Backend("django.core.files.storage.FileSystemStorage", required=("location",)),
    "AWS-S3": Backend("storages.backends.s3.S3Storage", required=("bucket_name",)),
    "AzureBlob": Backend("storages.backends.azure_storage.AzureStorage", required=("azure_container",)),
    "GCS": Backend("storages.backends.gcloud.GoogleCloudStorage", required=("bucket_name",)),
}


def find_backend(name: str) -> Backend:
    """The backend of this name, built in or from CAS_STORAGE_BACKENDS; raises LookupError."""
    if name in settings.CAS_STORAGE_BACKENDS:
        return Backend(settings.CAS_STORAGE_BACKENDS[name])
    return _BUILT_IN[name]


def backend_names() -> list[str]:
    """All names a location's backend may have."""
    return sorted({*_BUILT_IN, *settings.CAS_STORAGE_BACKENDS})
