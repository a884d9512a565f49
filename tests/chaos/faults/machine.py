"""The machine: its clock and its disk."""

import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.chaos.faults.base import Fault, Unavailable
from tests.chaos.faults.database import DatabaseLocked
from tests.chaos.world import World

_SOURCE = Path(__file__).with_name("stepped_clock.c")


class _ClockStepped(Fault):
    """The wall clock of all our processes is wrong by `step` seconds, and then right again."""

    step = 0
    drain_seconds = 60.0

    def environment(self, world: World) -> dict[str, str]:
        library = world.stack.folder / "stepped_clock.so"
        if not (compiler := shutil.which("cc")):
            raise Unavailable("there is no C compiler (cc)")
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, _SOURCE, "-ldl"], check=True)
        self._set(world, 0)
        return {"LD_PRELOAD": str(library), "STEPPED_CLOCK": str(self._file(world))}

    @contextmanager
    def fault(self, world: World) -> Iterator[None]:
        self._set(world, self.step)
        yield
        self._set(world, 0)

    def _file(self, world: World) -> Path:
        return world.stack.folder / "clock"

    def _set(self, world: World, step: int) -> None:
        self._file(world).touch()
        with self._file(world).open("r+b") as file:  # in place: it is mapped
            file.write(struct.pack("=q", step))


class ClockSteppedForward(_ClockStepped):
    """The clock goes an hour ahead, and then back."""

    step = 3600


class ClockSteppedBack(_ClockStepped):
    """The clock goes back an hour, and then ahead."""

    step = -3600


class JournalDiskFull(Fault):
    """No byte can be written where events wait, and the database is locked, so that they have to go there."""

    @contextmanager
    def prepared(self, world: World) -> Iterator[None]:
        with ExitStack() as mounted:
            for folder in self._folders(world):
                mounted.enter_context(_small_disk(folder))
            yield

    @contextmanager
    def fault(self, world: World) -> Iterator[None]:
        ballasts = [folder / "ballast" for folder in self._folders(world)]
        for ballast in ballasts:
            with suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        with DatabaseLocked().fault(world):
            yield
        for ballast in ballasts:
            ballast.unlink()

    def _folders(self, world: World) -> list[Path]:
        return [world.stack.folder / name for name in ("journal", "write-ahead")]


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"a file system cannot be mounted: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
