"""A terminal for a process to write to, which is read all along: it holds little, and whoever fills it waits."""

import os
from concurrent.futures import ThreadPoolExecutor


class Terminal:
    """Give the process `theirs`; `shown` is all that it wrote, once the `with` block has ended."""

    def __enter__(self) -> "Terminal":
        self.shown = b""
        self._ours, self.theirs = os.openpty()
        self._pool = ThreadPoolExecutor(1)
        self._reading = self._pool.submit(self._read)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.theirs)
        self.shown = self._reading.result()
        self._pool.shutdown()
        os.close(self._ours)

    def _read(self) -> bytes:
        shown = b""
        while block := self._read_some():
            shown += block
        return shown

    def _read_some(self) -> bytes:
        try:
            return os.read(self._ours, 65536)
        except OSError:  # EIO: nobody has it open any longer
            return b""
