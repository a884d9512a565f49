"""Three sets, which must be one: what clients were told, what the trail has, what the stream has. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.chaos.clients import Outcome, Transfer
from tests.chaos.trail import Row


@dataclass(frozen=True, slots=True)
class Verdict:
    """Counts of one run. Transfers are matched to rows by file name, rows to messages by event id."""

    outcomes: Counter[Outcome]
    rows: int  # of these transfers
    messages: int  # of these rows, counted once each
    without_row: int  # acknowledged, and not in the trail
    without_message: int  # in the trail, and not in the stream
    rows_twice: int  # rows beyond one for a transfer
    messages_twice: int  # messages beyond one for a row
    unfounded: int  # rows of transfers that failed, messages of no row

    @property
    def lost(self) -> int:
        return self.without_row + self.without_message

    @property
    def doubled(self) -> int:
        return self.rows_twice + self.messages_twice


def compare(transfers: Iterable[Transfer], rows: Sequence[Row], ids: Iterable[str]) -> Verdict:
    """Compare; of rows and ids those of other runs are left out, but for a message of no row at all."""
    outcome_of = {transfer.name: transfer.outcome for transfer in transfers}
    ours = [row for row in rows if row.file_name in outcome_of]
    rows_of = Counter(row.file_name for row in ours)
    copies = Counter(ids)
    cannot_have = {name for name, o in outcome_of.items() if o in {Outcome.FAILED, Outcome.REFUSED}}
    return Verdict(
        outcomes=Counter(outcome_of.values()),
        rows=len(ours),
        messages=sum(row.event_id in copies for row in ours),
        without_row=sum(o is Outcome.ACKNOWLEDGED and name not in rows_of for name, o in outcome_of.items()),
        without_message=sum(row.event_id not in copies for row in ours),
        rows_twice=sum(count - 1 for count in rows_of.values()),
        messages_twice=sum(max(copies[row.event_id] - 1, 0) for row in ours),
        unfounded=len(cannot_have & rows_of.keys()) + len(copies.keys() - {row.event_id for row in rows}),
    )
