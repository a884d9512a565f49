"""From a storage class to the store that serves it."""

import os
import subprocess
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings
from storages.backends.s3 import S3Storage

from artifacts.storage.backends import find_backend
from artifacts.storage.generic import GenericStore
from artifacts.storage.s3 import S3Store

_LOADED = """
import sys
import django
django.setup()
from artifacts.storage.backends import find_backend
find_backend("FILESYSTEM").make_store({"location": "/"})
print(*sorted({"boto3", "botocore", "azure.storage", "google.cloud.storage"} & sys.modules.keys()))
"""


class OurStorage(S3Storage):  # type: ignore[misc]
    """A site's own variant."""


def test_folder_deployment_loads_no_vendors_library() -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    loaded = subprocess.run(
        [sys.executable, "-c", _LOADED], env=environment, check=True, capture_output=True, text=True
    )
    assert loaded.stdout.strip() == ""


def test_subclass_of_a_vendors_storage_is_streamed_too(settings: Settings) -> None:
    settings.CAS_STORAGE_BACKENDS = {
        "OURS": f"{__name__}.OurStorage",
        "MEMORY": "django.core.files.storage.InMemoryStorage",
    }
    options = {"bucket_name": "a", "access_key": "a", "secret_key": "b", "region_name": "eu-central-1"}
    assert isinstance(find_backend("OURS").make_store({**options, "read_timeout": 3}), S3Store)
    assert isinstance(find_backend("MEMORY").make_store({}), GenericStore)


def test_timeouts_are_options_of_object_stores_alone() -> None:
    with pytest.raises(ImproperlyConfigured, match="read_timeout"):
        find_backend("FILESYSTEM").make_store({"location": "/", "read_timeout": 3})
