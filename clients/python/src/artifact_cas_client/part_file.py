"""A download that is not whole yet, beside the place it is meant for."""

import errno
import hashlib
import os
import stat
import sys
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from artifact_cas_client.exchange import BLOCK

if sys.platform != "win32":
    import fcntl

EXISTS = "it exists, and is not overwritten without --force"


class PartFile:
    """Named by the digest, so that another run finds it; held by one process at a time.

    On entering, what an earlier run has left is hashed. On leaving, it stays when there is something in it.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self._path = folder / f".cas-{digest.removeprefix('sha256:')}.part"
        self._file: BinaryIO
        self._hash = hashlib.sha256()
        self.size = 0

    def __enter__(self) -> Self:
        """Raises OSError; BlockingIOError when another process has it."""
        while True:
            self._file = os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT | _NO_FOLLOW, 0o666), "r+b")
            try:
                _lock(self._file, self._path)
                info = os.fstat(self._file.fileno())
                _check_ours(info, self._path)
                if os.path.samestat(info, self._path.stat()):
                    break
            except FileNotFoundError:  # it got its name while we came to hold it
                pass
            except BaseException:
                self._file.close()
                raise
            self._file.close()
        while block := self._file.read(BLOCK):
            self._take(block)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if not self.size:
            self._path.unlink(missing_ok=True)

    @property
    def digest(self) -> str:
        """Of what is in it."""
        return f"sha256:{self._hash.hexdigest()}"

    def write(self, block: bytes) -> None:
        self._file.write(block)
        self._take(block)

    def empty(self) -> None:
        """Begin again."""
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()
        self.size = 0

    def discard(self) -> None:
        self._path.unlink(missing_ok=True)

    def place(self, target: Path, *, force: bool) -> None:
        """Give it its name, once it is on disk; raises FileExistsError unless `force`."""
        self._file.flush()
        os.fsync(self._file.fileno())
        if sys.platform == "win32":
            self._file.close()  # an open file cannot be renamed there
        if force:
            self._path.replace(target)
        elif not _link(self._path, target):
            if target.exists():
                raise FileExistsError(errno.EEXIST, EXISTS, str(target))
            self._path.rename(target)

    def _take(self, block: bytes) -> None:
        self._hash.update(block)
        self.size += len(block)


def _link(path: Path, target: Path) -> bool:
    """Rename, but never over a file that appeared meanwhile; False where there are no hard links."""
    try:
        target.hardlink_to(path)
    except FileExistsError:
        raise
    except OSError:
        return False
    path.unlink()
    return True


def _check_ours(info: os.stat_result, path: Path) -> None:
    """In a folder for all, others could have made it, and change it after it was verified."""
    is_ours = sys.platform == "win32" or info.st_uid == os.geteuid()
    if not is_ours or not stat.S_ISREG(info.st_mode):
        raise PermissionError(errno.EPERM, "somebody else made it", str(path))


_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def _lock(file: BinaryIO, path: Path) -> None:
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(error.errno, "another download of it is under way", str(path)) from error
