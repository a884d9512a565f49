"""Files and folders that survive a power cut."""

import os
import uuid
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, text: str, *, is_synced: bool) -> None:
    """Write a file that is there whole or not at all, and its folder if that is not there; raises OSError.

    Nobody but its owner may read it. If it is not synced, the machine, going down in the next half minute, may take it
    along, or leave it empty.
    """
    folder = path.parent
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)
    partial = path.with_suffix(f".{uuid.uuid4().hex}.partial")  # of our own: others may write the same file
    try:
        partial.touch(0o600)
        with partial.open("w") as file:
            file.write(text)
            file.flush()
            if is_synced:
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)  # nobody would look for it
        raise
    if is_synced:
        sync_folder(folder)
