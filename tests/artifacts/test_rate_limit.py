"""The token bucket of the scrub, on a clock of its own, and sizes as people write them."""

import pytest

from artifacts.rate_limit import BURST, RateLimit
from common.sizes import format_size, parse_size


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limit_of(rate: int, clock: Clock) -> RateLimit:
    return RateLimit(rate, clock=clock, sleep=clock.sleep)


@pytest.mark.parametrize("piece", [1, 1000, 262_144, 10_000_000])
def test_rate_is_kept_whatever_the_pieces_are(clock: Clock, piece: int) -> None:
    limit = limit_of(1_000_000, clock)
    for _ in range(100):
        limit.take(piece)
    assert clock.now - 1000 == pytest.approx(100 * piece / 1_000_000)


def test_reading_itself_counts_as_waiting(clock: Clock) -> None:
    limit = limit_of(1000, clock)
    for _ in range(100):
        clock.now += 0.06
        limit.take(100)
    assert clock.now - 1000 == pytest.approx(100 * 0.1, rel=0.01)


def test_pause_is_no_credit(clock: Clock) -> None:
    limit = limit_of(1000, clock)
    clock.now += 3600
    before = clock.now
    limit.take(5000)
    assert clock.now - before == pytest.approx(5 - BURST)


def test_no_rate_is_no_wait(clock: Clock) -> None:
    limit = limit_of(0, clock)
    limit.take(10**12)
    assert (clock.now, limit.piece) == (1000, None)


@pytest.mark.parametrize("rate", [1, 3, 1000, 10**9])
def test_piece_takes_no_longer_than_a_moment(rate: int) -> None:
    piece = RateLimit(rate).piece
    assert piece is not None
    assert 1 <= piece <= max(1, rate / 4)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        *(("0", 0), ("1500", 1500), ("1500B", 1500), ("50MB", 50_000_000), ("50 mb", 50_000_000), ("50M", 50_000_000)),
        *(("1KiB", 1024), ("1.5GiB", 1_610_612_736), ("0.1kB", 100), ("2TB", 2 * 10**12), ("8PiB", 2**53)),
    ],
)
def test_size_is_read_with_its_unit(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize(
    ("count", "text"),
    [
        *((0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (256 * 2**20, "256 MiB")),
        *((12_345_678_901, "11.5 GiB"), (2**50, "1.0 PiB"), (2**85, "32768 ZiB")),
    ],
)
def test_size_is_written_in_binary_units(count: int, text: str) -> None:
    assert format_size(count) == text


@pytest.mark.parametrize("count", [0, 999, 1023, 1536, 256 * 2**20, 12_345_678_901, 2**50, 2**63 - 1])
def test_size_that_was_written_can_be_read(count: int) -> None:
    assert parse_size(format_size(count)) == pytest.approx(count, rel=0.05)


@pytest.mark.parametrize("text", ["", "MB", "-1", "1e3", "1iB", "1 2", "fast", "1,5GB", "٣"])
def test_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size such as"):
        parse_size(text)
