"""Keeps the disk busy while an upload still arrives, so that its last fsync has little left to wait for."""

import os
import threading

INTERVAL = 32 * 1024**2  # bytes between two syncs; a smaller upload starts no thread


class WriteBack:
    """Syncs a file from a thread of its own each time INTERVAL more bytes have been written to it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._unsynced = 0
        self._wanted = threading.Event()
        self._is_over = False
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None

    def wrote(self, size: int) -> None:
        """Count bytes that were written; raises OSError when an earlier sync failed."""
        if self._error is not None:
            raise self._error
        self._unsynced += size
        if self._unsynced < INTERVAL:
            return
        self._unsynced = 0
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="write-back", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system gives no more threads: the last fsync has more to wait for
                return
            self._thread = thread
        self._wanted.set()

    def finish(self) -> None:
        """Wait for a sync under way; raises OSError when one failed, for a later fsync would not tell again."""
        self.stop()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """The same for a file that is given up. Call one of the two before the file is closed."""
        if self._thread is not None:
            self._is_over = True
            self._wanted.set()
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._is_over:
                return
            try:
                os.fdatasync(self._descriptor)
            except OSError as error:
                self._error = error
                return
