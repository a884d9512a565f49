"""How long transfers took, in windows of calm and of the fault, one after the other."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos.clients import Transfer

Window = tuple[float, float]  # of time.monotonic


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds; of each the median over the rounds. The ratios are of p99 of the fault to the calm just before it."""

    before: tuple[float, float]  # p50, p99
    during: tuple[float, float]
    ratios: tuple[float, ...]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)


def measure(transfers: Sequence[Transfer], rounds: Sequence[tuple[Window, Window]]) -> Timing | None:
    """The timing of rounds of (calm, fault); None when in some window too little happened to speak of."""
    measured = [tuple(_percentiles(transfers, window) for window in pair) for pair in rounds]
    pairs = [(before, during) for before, during in measured if before and during]
    if not pairs or len(pairs) < len(rounds):
        return None
    befores, durings = zip(*pairs, strict=True)
    ratios = tuple(during[1] / before[1] for before, during in pairs)
    return Timing(_medians(befores), _medians(durings), ratios)


def _percentiles(transfers: Sequence[Transfer], window: Window) -> tuple[float, float] | None:
    seconds = [each.seconds for each in transfers if window[0] <= each.started < window[1]]
    if len(seconds) < 10:
        return None
    return statistics.median(seconds), statistics.quantiles(seconds, n=100)[-1]


def _medians(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    first, second = zip(*pairs, strict=True)
    return statistics.median(first), statistics.median(second)
