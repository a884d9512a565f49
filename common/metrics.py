"""Counters and histograms of this process: a few hundred nanoseconds each, and nothing that can fail.

Not prometheus-client's own, whose values for several processes live in memory-mapped files: on a full disk the first
write to a page of one is a SIGBUS, which ends the process. casproject/observability/ shares these and shows them.
"""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence

Labels = tuple[str, ...]
Series = dict[Labels, list[float]]  # of a counter its one value; of a histogram a count for each bucket, and the sum


class Metric:
    """A name, a help text, label names, and the values of each combination of labels that was met."""

    buckets: tuple[float, ...] = ()

    def __init__(self, name: str, documentation: str, labels: Sequence[str] = (), known: Iterable[Labels] = ()) -> None:
        """`known` are combinations that are shown from the start, at 0: what first grows from nothing has no rate."""
        self.name = name
        self.documentation = documentation
        self.labels = tuple(labels)
        self._known = list(known) if labels else [()]
        self.reset()
        METRICS[name] = self

    def reset(self) -> None:
        """Begin anew, with a lock that nobody holds: a fork copies what its parent counted, and held."""
        self._lock = threading.Lock()
        self._series: Series = {key: self._zero() for key in self._known}

    @property
    def width(self) -> int:
        """Numbers that a series has."""
        return 1

    def _zero(self) -> list[float]:
        return [0] * self.width

    def read(self) -> Series:
        """A copy of all values."""
        with self._lock:
            return {labels: list(values) for labels, values in self._series.items()}


class Counter(Metric):
    """Only grows. Its name ends in `_total`."""

    def add(self, amount: float, *labels: str) -> None:
        """Add to the value of these labels, which must have few values each: no organization, digest or address."""
        with self._lock:
            values = self._series.get(labels)
            if values is None:
                values = self._series[labels] = [0]
            values[0] += amount


class Histogram(Metric):
    """How often which values were met; `buckets` are upper bounds, the last one, infinity, left out."""

    def __init__(
        self,
        name: str,
        documentation: str,
        buckets: Sequence[float],
        labels: Sequence[str] = (),
        known: Iterable[Labels] = (),
    ) -> None:
        self.buckets = tuple(buckets)
        super().__init__(name, documentation, labels, known)

    @property
    def width(self) -> int:
        return len(self.buckets) + 2

    def observe(self, value: float, *labels: str) -> None:
        """Count one value."""
        with self._lock:
            values = self._series.get(labels)
            if values is None:
                values = self._series[labels] = self._zero()
            values[bisect_left(self.buckets, value)] += 1
            values[-1] += value


METRICS: dict[str, Metric] = {}
