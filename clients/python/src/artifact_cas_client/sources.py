"""What is uploaded."""

import errno
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

from artifact_cas_client.digests import digest_of_file
from artifact_cas_client.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Source:
    """A file whose digest is known."""

    path: Path
    digest: str
    size: int
    file_name: str

    @classmethod
    def read(cls, path: Path, file_name: str | None, cancelled: threading.Event) -> "Source":
        """Reads all of the file. Raises OSError, Cancelled, and ConfigurationError for a name that is not Unicode."""
        name = path.name if file_name is None else file_name
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ConfigurationError(
                f"The file name {name!r} is not UTF-8: give another.", "invalid_filename"
            ) from error
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file; what comes from a pipe is uploaded as -", str(path))
        return cls(path, digest_of_file(path, cancelled), info.st_size, name)
