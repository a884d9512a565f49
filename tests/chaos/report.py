"""The table."""

from collections.abc import Sequence

from rich.table import Table

from tests.chaos.clients import Outcome
from tests.chaos.run import SLACK, Result
from tests.chaos.timing import Timing

COLUMNS = (
    *("fault", "transfers", "failed", "unknown", "rows", "stream", "lost", "doubled"),
    *("p50/p99 before", "p50/p99 during", "p99 ratio (min..max)", "result"),
)


def table_of(title: str, results: Sequence[Result], missing: dict[str, str]) -> Table:
    """A row a fault; `missing` are those that could not be had, and why."""
    table = Table(title=title, title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in {"fault", "result"} else "right")
    for result in results:
        table.add_row(result.fault.name(), *_counts(result), *_times(result.timing), result_of(result))
    for name, reason in missing.items():
        table.add_row(name, *[""] * (len(COLUMNS) - 2), f"NOT RUN: {reason}")
    return table


def _counts(result: Result) -> list[str]:
    verdict = result.verdict
    failed = verdict.outcomes[Outcome.FAILED] + verdict.outcomes[Outcome.REFUSED]
    counts = (
        *(sum(verdict.outcomes.values()), failed, verdict.outcomes[Outcome.UNKNOWN]),
        *(verdict.rows, verdict.messages, verdict.lost, verdict.doubled),
    )
    return [str(count) for count in counts]


def _times(timing: Timing | None) -> list[str]:
    if timing is None:
        return ["", "", ""]
    before, during = (f"{p50 * 1000:.1f}/{p99 * 1000:.0f} ms" for p50, p99 in (timing.before, timing.during))
    return [before, during, f"{timing.ratio:.2f} ({min(timing.ratios):.2f}..{max(timing.ratios):.2f})"]


def result_of(result: Result) -> str:
    """Passed, or why not."""
    if problems := result.problems():
        return f"FAILED: {', '.join(problems)}"
    is_slow = result.fault.is_timed and result.timing is not None and result.timing.ratio > SLACK
    return "passed, slower" if is_slow else "passed"
