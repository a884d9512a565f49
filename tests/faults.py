"""A folder whose disk fails: system calls under it are counted, and one of them can be made to fail."""

import builtins
import errno
import fcntl
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# Not stat: how often pathlib looks at a path is for each Python release to decide.
BY_PATH = ("open", "mkdir", "link", "replace", "unlink")
BY_DESCRIPTOR = ("write", "fsync", "ftruncate", "close")


@dataclass(frozen=True, slots=True)
class Fault:
    """What becomes of one call: `number` is an errno, 0 for none.

    `is_done`: the call does its work, or of a write all, and fails all the same; as on a network file system
    whose answer is lost. Else nothing of it is done, but of a write the first half.
    """

    number: int
    is_done: bool = False

    def __str__(self) -> str:
        name = errno.errorcode.get(self.number, "short")
        return f"{name}, done" if self.is_done else name

    def error(self) -> OSError:
        return OSError(self.number, os.strerror(self.number))


SHORT = Fault(0)  # a write that takes half, which is no error


class FailingDisk:
    """Counts the calls under `folder`, in order; the one of number `fails_at` (from 0) has the fault."""

    def __init__(self, folder: Path, fails_at: int | None = None, fault: Fault | None = None) -> None:
        self._folder = folder
        self._fails_at = fails_at
        self._fault = fault
        self._descriptors: dict[int, str] = {}
        self.calls: list[str] = []

    @property
    def has_failed(self) -> bool:
        return self._fails_at is not None and len(self.calls) > self._fails_at

    @property
    def failed_call(self) -> str:
        """Which of its kind it was: `fsync 2 (folder)`."""
        assert self._fails_at is not None
        call = self.calls[self._fails_at]
        kind, _, what = call.partition(" ")
        number = Counter(name.partition(" ")[0] for name in self.calls[: self._fails_at + 1])[kind]
        return f"{kind} {number} {what}"

    @contextmanager
    def mounted(self) -> Iterator["FailingDisk"]:
        """While it lasts, the process sees this disk."""
        with pytest.MonkeyPatch.context() as patch:
            for name in BY_PATH:
                patch.setattr(os, name, self._by_path(name, getattr(os, name)))
            for name in BY_DESCRIPTOR:
                patch.setattr(os, name, self._by_descriptor(name, getattr(os, name)))
            patch.setattr(fcntl, "flock", self._by_descriptor("flock", fcntl.flock))
            reading = self._reading(builtins.open)
            patch.setattr(builtins, "open", reading)
            patch.setattr(io, "open", reading)
            yield self

    def _by_path(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            if not self._is_ours(path):
                return real(path, *arguments, **options)
            result = self._call(name, Path(path), lambda: real(path, *arguments, **options))
            if name == "open":
                self._descriptors[result] = str(path)
            return result

        return call

    def _by_descriptor(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(descriptor: int, *arguments: Any) -> Any:
            path = self._descriptors.get(descriptor)
            if path is None:
                return real(descriptor, *arguments)
            if name == "close":
                del self._descriptors[descriptor]
            return self._call(name, Path(path), lambda: real(descriptor, *arguments), real, descriptor, *arguments)

        return call

    def _call(self, name: str, path: Path, work: Callable[[], Any], real: Any = None, *arguments: Any) -> Any:
        is_hit = len(self.calls) == self._fails_at
        self.calls.append(f"{name} ({self._kind_of(path)})")
        if not is_hit or self._fault is None:
            return work()
        if name == "write" and not self._fault.is_done:
            descriptor, data = arguments
            written = real(descriptor, data[: len(data) // 2])
            if self._fault == SHORT:
                return written
        elif self._fault == SHORT:
            return work()
        elif name == "close" or (self._fault.is_done and name != "open"):
            work()  # Linux closes a descriptor even when it says that it failed
        raise self._fault.error()

    def _reading(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if not self._is_ours(path):
                return real(path, mode, *arguments, **options)
            self._call("open", Path(path), lambda: None)
            file = _FailingFile(path, self)
            self._descriptors[file.fileno()] = str(path)
            return file

        return call

    def forget(self, descriptor: int) -> None:
        """A reader closed its file."""
        self._descriptors.pop(descriptor, None)

    def read(self, path: Path, work: Callable[[], bytes]) -> bytes:
        """What a reader of ours goes through."""
        block: bytes = self._call("read", path, work)
        return block

    def _is_ours(self, path: Any) -> bool:
        return isinstance(path, str | Path) and Path(path).is_relative_to(self._folder)

    def _kind_of(self, path: Path) -> str:
        if path == self._folder:
            return "root"
        parts = path.relative_to(self._folder).parts
        if parts[0] == ".incoming":
            kind = "incoming folder" if len(parts) == 1 else "temp file"
            return "partial file" if path.suffix == ".partial" else kind
        return {1: "sha256 folder", 2: "shard folder"}.get(len(parts), "artifact")


class _FailingFile(io.FileIO):
    def __init__(self, path: Any, disk: FailingDisk) -> None:
        self._path = Path(path)
        self._disk = disk
        super().__init__(path)

    def read(self, size: int | None = -1, /) -> bytes:
        return self._disk.read(self._path, lambda: io.FileIO.read(self, size) or b"")

    def close(self) -> None:
        if not self.closed:
            self._disk.forget(self.fileno())
        super().close()
