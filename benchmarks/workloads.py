"""What is measured. A workload prepares, then does its work inside `bench.timed`, and returns its figures."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from benchmarks.load import MIB, LoadError, Smalls, Source
from benchmarks.ours import Ours
from benchmarks.peers import Distribution, Peer
from benchmarks.processes import MemoryWatch, cpu_seconds

Figures = dict[str, float]

_PIECES = 8
_PIECE = 64 * MIB
_STORED_SMALLS = 512
_PREPARED_PER_SECOND = 60_000  # new small bodies; more than any peer takes here
_KEPT = b"kept"


@dataclass
class Span:
    """What a timed piece of work took; `cpu` includes what the server did for it afterwards."""

    seconds: float = 0
    cpu: float = 0


@dataclass
class Bench:
    """The content, and what of it each peer has already."""

    folder: Path
    size: int
    seconds: int
    _kept: dict[tuple[str, Path], str] = field(default_factory=dict)
    _smalls: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    @cached_property
    def large(self) -> Source:
        return Source(self.folder / "large", self.size)

    @cached_property
    def pieces(self) -> list[Source]:
        return [Source(self.folder / f"piece-{number}", _PIECE) for number in range(_PIECES)]

    @contextmanager
    def timed(self, peer: Peer) -> Iterator[Span]:
        """Time a block, begun with nothing left to write or to publish from earlier."""
        peer.settle()
        os.sync()
        span, cpu, started = Span(), cpu_seconds(peer.roots), time.perf_counter()
        yield span
        span.seconds = time.perf_counter() - started
        peer.settle()
        span.cpu = cpu_seconds(peer.roots) - cpu

    def keep(self, peer: Peer, source: Source) -> str:
        """Have the peer store this source, once; return the digest it stays under."""
        hexdigest = self._kept.get((peer.name, source.path))
        if hexdigest is None:
            hexdigest = self._kept[peer.name, source.path] = source.renew(_KEPT)
            peer.upload(source, hexdigest)
            peer.download(hexdigest)
        return hexdigest

    def smalls(self, peer: Peer) -> Path:
        """The list of small objects that this peer has."""
        if peer.name not in self._smalls:
            smalls = Smalls(self.folder / peer.name.replace(", ", "-"), _STORED_SMALLS)
            for number in range(_STORED_SMALLS):
                peer.put(smalls.body(number))
            self._smalls[peer.name] = smalls.folder / "digests"
        return self._smalls[peer.name]


def upload(bench: Bench, peer: Peer) -> Figures:
    hexdigest = bench.large.renew()
    with bench.timed(peer) as span:
        transfer = peer.upload(bench.large, hexdigest)
    peer.discard(hexdigest)
    if transfer.uploaded != bench.size:
        raise LoadError(f"{peer.name} took {transfer.uploaded} of {bench.size} bytes")
    return {"MB/s": bench.size / span.seconds / 1e6, "CPU s": span.cpu}


def download(bench: Bench, peer: Peer) -> Figures:
    hexdigest = bench.keep(peer, bench.large)
    with bench.timed(peer) as span:
        transfer = peer.download(hexdigest)
    if transfer.downloaded != bench.size:
        raise LoadError(f"{peer.name} gave {transfer.downloaded} of {bench.size} bytes")
    return {"MB/s": bench.size / span.seconds / 1e6, "CPU s": span.cpu}


def parallel_upload(bench: Bench, peer: Peer) -> Figures:
    hexdigests = [piece.renew() for piece in bench.pieces]
    with bench.timed(peer) as span, ThreadPoolExecutor(_PIECES) as pool:
        list(pool.map(peer.upload, bench.pieces, hexdigests))
    for hexdigest in hexdigests:
        peer.discard(hexdigest)
    return {"MB/s": _PIECES * _PIECE / span.seconds / 1e6, "CPU s": span.cpu}


def parallel_download(bench: Bench, peer: Peer) -> Figures:
    hexdigests = [bench.keep(peer, piece) for piece in bench.pieces]
    with bench.timed(peer) as span, ThreadPoolExecutor(_PIECES) as pool:
        list(pool.map(peer.download, hexdigests))
    return {"MB/s": _PIECES * _PIECE / span.seconds / 1e6, "CPU s": span.cpu}


def small_put(bench: Bench, peer: Peer) -> Figures:
    smalls = Smalls(bench.folder / "new", _PREPARED_PER_SECOND * bench.seconds)
    with bench.timed(peer) as span:
        rate = peer.put_many(smalls, bench.seconds)
    return {**rate.as_metrics(), "CPU ms each": span.cpu / rate.count * 1000}


def small_get(bench: Bench, peer: Peer) -> Figures:
    digests = bench.smalls(peer)
    with bench.timed(peer) as span:
        before = _events(peer)
        rate = peer.get_many(digests, bench.seconds)
    if isinstance(peer, Ours) and _events(peer) - before < rate.count:
        raise LoadError(f"{peer.name} recorded {_events(peer) - before} events for {rate.count} downloads")
    return {**rate.as_metrics(), "CPU ms each": span.cpu / rate.count * 1000}


def _events(peer: Peer) -> int:
    return peer.events() if isinstance(peer, Ours) else 0


def dedup(bench: Bench, peer: Peer) -> Figures:
    """A second upload; of Distribution the HEAD that its clients send first. nginx has nothing like it."""
    if not isinstance(peer, (Ours, Distribution)):
        return {}
    hexdigest = bench.keep(peer, bench.large)
    if bench.large.renew(_KEPT) != hexdigest:
        raise LoadError("the content that was kept is not what would be sent again")
    with bench.timed(peer):
        transfer = peer.upload(bench.large, hexdigest) if isinstance(peer, Ours) else peer.head(hexdigest)
    return {"ms": transfer.seconds * 1000, "body bytes": transfer.uploaded}


WORKLOADS: dict[str, Callable[[Bench, Peer], Figures]] = {
    "upload": upload,
    "download": download,
    "parallel-upload": parallel_upload,
    "parallel-download": parallel_download,
    "small-put": small_put,
    "small-get": small_get,
    "dedup": dedup,
}


def memory(peer: Peer, source: Source) -> tuple[Figures, dict[str, int]]:
    """Peaks while one artifact goes up and comes down, and those of each process in bytes."""
    hexdigest = source.renew()
    with MemoryWatch(peer.roots) as up:
        peer.upload(source, hexdigest)
    with MemoryWatch(peer.roots) as down:
        peer.download(hexdigest)
    peer.discard(hexdigest)
    figures = {
        "sum, up MiB": up.peak_sum / MIB,
        "largest, up MiB": up.peak_one / MIB,
        "sum, down MiB": down.peak_sum / MIB,
        "largest, down MiB": down.peak_one / MIB,
    }
    return figures, {name: max(size, down.peaks[name]) for name, size in up.peaks.items()}
