"""The harness's own arithmetic: it must see what it looks for."""

import pytest

from tests.chaos.clients import Outcome, Transfer
from tests.chaos.comparison import compare
from tests.chaos.timing import measure
from tests.chaos.trail import Row


def transfers(**outcomes: Outcome) -> list[Transfer]:
    return [Transfer(name, outcome, 0.0, 0.01) for name, outcome in outcomes.items()]


def rows(*names: str) -> list[Row]:
    return [Row(f"id-{number}", name, "published") for number, name in enumerate(names)]


def test_three_sets_that_agree_have_nothing_lost_or_doubled() -> None:
    verdict = compare(transfers(a=Outcome.ACKNOWLEDGED, b=Outcome.ACKNOWLEDGED), rows("a", "b"), ["id-0", "id-1"])
    assert (verdict.rows, verdict.messages, verdict.lost, verdict.doubled, verdict.unfounded) == (2, 2, 0, 0, 0)


def test_acknowledged_transfer_without_a_row_is_lost() -> None:
    assert compare(transfers(a=Outcome.ACKNOWLEDGED), [], []).without_row == 1


def test_row_without_a_message_is_lost() -> None:
    assert compare(transfers(a=Outcome.ACKNOWLEDGED), rows("a"), []).without_message == 1


def test_second_row_of_a_transfer_is_doubled() -> None:
    assert compare(transfers(a=Outcome.ACKNOWLEDGED), rows("a", "a"), ["id-0", "id-1"]).rows_twice == 1


def test_second_message_of_a_row_is_doubled() -> None:
    assert compare(transfers(a=Outcome.ACKNOWLEDGED), rows("a"), ["id-0", "id-0"]).messages_twice == 1


@pytest.mark.parametrize("rows_made", [[], rows("a")])
def test_transfer_without_an_answer_may_have_a_row_or_none(rows_made: list[Row]) -> None:
    verdict = compare(transfers(a=Outcome.UNKNOWN), rows_made, [row.event_id for row in rows_made])
    assert (verdict.lost, verdict.doubled, verdict.unfounded) == (0, 0, 0)


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.REFUSED])
def test_row_of_a_transfer_that_failed_is_unfounded(outcome: Outcome) -> None:
    assert compare(transfers(a=outcome), rows("a"), ["id-0"]).unfounded == 1


def test_message_of_no_row_is_unfounded() -> None:
    assert compare([], [], ["id-0"]).unfounded == 1


def test_what_another_run_left_is_not_counted() -> None:
    verdict = compare(transfers(a=Outcome.ACKNOWLEDGED), rows("a", "other"), ["id-0", "id-1"])
    assert (verdict.rows, verdict.messages, verdict.lost, verdict.unfounded) == (1, 1, 0, 0)


def test_each_fault_is_compared_with_the_calm_before_it() -> None:
    def at(start: float, seconds: float) -> list[Transfer]:
        return [Transfer("", Outcome.ACKNOWLEDGED, start + number / 100, seconds) for number in range(20)]

    transfers_made = [*at(0, 0.1), *at(1, 0.2), *at(2, 0.3), *at(3, 0.3)]
    timing = measure(transfers_made, [((0, 1), (1, 2)), ((2, 3), (3, 4))])
    assert timing is not None
    assert timing.ratios == pytest.approx((2.0, 1.0))
    assert timing.ratio == pytest.approx(1.5)


def test_too_few_transfers_have_no_timing() -> None:
    assert measure([], [((0, 1), (1, 2))]) is None
