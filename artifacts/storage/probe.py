"""Tries a store the way transfers use it."""

import io
import os
from contextlib import closing

from artifacts.digests import BLOCK_SIZE, VerifyingReader
from artifacts.exceptions import StorageError
from artifacts.storage.base import Store
from artifacts.storage.errors import storage_errors


def probe(store: Store) -> None:
    """Write, read back and delete a small random artifact; raise the ArtifactError of the step that failed."""
    content = os.urandom(64)
    reader = VerifyingReader(io.BytesIO(content))
    with store.stage() as staged:
        for block in reader:
            staged.write(block)
        staged.place(reader.digest)
    try:
        with storage_errors(), closing(store.open(reader.digest)) as file:
            if file.read(BLOCK_SIZE) != content:
                raise StorageError("What was read back is not what was written.")
    finally:
        store.delete(reader.digest)
    if store.stat(reader.digest) is not None:
        raise StorageError("The storage did not delete the probe.")
