"""The table of where a request's time goes knows its functions by their names, which refactorings change."""

from benchmarks.breakdown import FUNCTIONS
from benchmarks.probes import find


def test_functions_that_are_timed_are_there() -> None:
    names = [name for group in FUNCTIONS.values() for name in group]
    assert [name for name in names if find(name) is None] == []
