"""Turns what storages raise into the errors of this app, so that nothing above knows a vendor's."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import django.db

from artifacts.exceptions import ArtifactError, StorageError, StorageFull

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def storage_errors() -> Iterator[None]:
    """Raise StorageFull or StorageError, the original as its cause, for whatever a storage raises."""
    try:
        yield
    except (ArtifactError, django.db.Error):  # a download asks the database while it reads
        raise
    except OSError as error:
        raise (StorageFull if error.errno in _FULL else StorageError)() from error
    except Exception as error:  # botocore, azure, google: each has a hierarchy of its own
        raise StorageError from error
