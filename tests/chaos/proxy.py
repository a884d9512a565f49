"""A TCP proxy between two servers, which can hold back what one of them answers, or all."""

import ctypes
import socket
import struct
import threading
from contextlib import suppress
from enum import Enum


class Mode(Enum):
    PASS = "pass"
    HOLD_ANSWERS = "hold answers"  # requests go through, answers wait
    BLACKHOLE = "blackhole"  # takes connections and bytes, and passes nothing on
    GONE = "gone"  # takes nothing: as a machine that is gone, whose packets nobody answers


# Of linux/filter.h and asm-generic/socket.h: one instruction, to keep none of a packet's bytes.
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
_DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)


class Proxy:
    """Listens on a port of 127.0.0.1 and connects to another; the mode counts for all connections, at once."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._passing = {True: threading.Event(), False: threading.Event()}
        self._sockets: set[socket.socket] = set()
        self.held = threading.Event()  # set once an answer is being held back
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.set_mode(Mode.PASS)
        threading.Thread(target=self._accept, daemon=True).start()

    def set_mode(self, mode: Mode) -> None:
        self.held.clear()
        self._listen(to_packets=mode is not Mode.GONE)
        for is_answer, may_pass in ((True, mode is Mode.PASS), (False, mode is not Mode.BLACKHOLE)):
            (self._passing[is_answer].set if may_pass else self._passing[is_answer].clear)()

    def _listen(self, *, to_packets: bool) -> None:
        """Have the kernel take packets, or drop all of them before TCP sees one."""
        instructions = ctypes.create_string_buffer(_DROP_ALL)
        program = struct.pack("HP", 1, ctypes.addressof(instructions))
        for each in [self._listener, *list(self._sockets)]:
            with suppress(OSError):  # it is closed, or had no filter
                if to_packets:
                    each.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
                else:
                    each.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)

    def cut(self) -> None:
        """End all connections; what is held back never arrives."""
        for each in list(self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._sockets.clear()

    def close(self) -> None:
        self._listener.close()
        self.cut()
        self.set_mode(Mode.PASS)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                self._sockets.add(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            self._passing[False].wait()
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
            return
        self._sockets.add(server)
        threading.Thread(target=self._pump, args=(server, client), kwargs={"is_answer": True}, daemon=True).start()
        self._pump(client, server, is_answer=False)

    def _pump(self, source: socket.socket, target: socket.socket, *, is_answer: bool) -> None:
        passing = self._passing[is_answer]
        with suppress(OSError):
            while data := source.recv(65536):
                if is_answer and not passing.is_set():
                    self.held.set()
                passing.wait()
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
            self._sockets.discard(each)
