"""What a client has downloaded under which names: of two artifacts that a server gives one name, neither is lost."""

import errno
import os
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Placed:
    """May be shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._by_name: dict[str, dict[Path, str]] = {}

    def check(self, target: Path, digest: str) -> None:
        """Raises FileExistsError when another artifact is there."""
        with self._lock:
            for path, other in self._by_name.get(_folded(target), {}).items():
                if other != digest and _is_same(path, target):
                    raise FileExistsError(errno.EEXIST, "another artifact was downloaded under this name", str(target))

    @contextmanager
    def placing(self, target: Path, digest: str, *, is_proposed: bool) -> Iterator[None]:
        """Give an artifact its name meanwhile; raises FileExistsError as `check`, if a server has proposed the name."""
        with self._lock:
            if is_proposed:
                self.check(target, digest)
            yield
            self._by_name.setdefault(_folded(target), {})[target.absolute()] = digest


def _folded(path: Path) -> str:
    """Some file systems tell names apart neither by case nor by how an accent is encoded."""
    return unicodedata.normalize("NFC", path.name).casefold()


def _is_same(path: Path, other: Path) -> bool:
    try:
        return os.path.samefile(path, other)  # noqa: PTH121 -- of paths that may be gone
    except OSError:
        return False
