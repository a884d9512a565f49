"""Which resumable uploads are under way, so that a second run of a command goes on where the first one stopped."""

import errno
import hashlib
import os
from contextlib import suppress
from pathlib import Path


def default_folder() -> Path | None:
    """In the user's cache (XDG base directories); None for a user without a home, as containers may have."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "artifact-cas"
    except RuntimeError:
        return None


class ResumeCache:
    """A small file for each, named by server and digest. A cache that cannot be written only costs the resuming.

    Without a folder nothing is remembered.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def find(self, server: str, digest: str) -> str | None:
        """The upload's id on that server."""
        try:
            return self._path(server, digest).read_text().strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    def keep(self, server: str, digest: str, upload_id: str) -> None:
        with suppress(OSError):
            path = self._path(server, digest)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = path.with_suffix(f".{os.getpid()}")
            fresh.write_text(upload_id)
            fresh.replace(path)

    def drop(self, server: str, digest: str) -> None:
        with suppress(OSError):
            self._path(server, digest).unlink(missing_ok=True)

    def _path(self, server: str, digest: str) -> Path:
        if self._folder is None:
            raise FileNotFoundError(errno.ENOENT, "there is no folder for a cache")
        return self._folder / f"{hashlib.sha256(f'{server} {digest}'.encode()).hexdigest()[:40]}.upload"
